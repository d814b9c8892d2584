//! The trained arrays of a dictionary, each with its gradient and its moments.

use glassbox_kernels::TrainingBackend;
use glassbox_kernels::training::{AdamStep, Trained};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::error::Result;
use crate::training_step::StepShape;

/// A matrix [rows, width] that is trained; a vector is one row.
#[derive(Debug)]
pub(crate) struct Parameter<B: TrainingBackend> {
    /// Its name in checkpoints.
    pub name: &'static str,
    pub rows: usize,
    pub width: usize,
    pub values: B::Buffer,
    pub gradient: B::Buffer,
    first: B::Buffer,
    second: B::Buffer,
}

impl<B: TrainingBackend> Parameter<B> {
    fn new(backend: &B, name: &'static str, (rows, width): (usize, usize), values: &[f32]) -> Self {
        let zeros = || backend.zeros(rows * width);
        Self {
            name,
            rows,
            width,
            values: backend.upload(values),
            gradient: zeros(),
            first: zeros(),
            second: zeros(),
        }
    }

    /// Elements.
    pub fn len(&self) -> usize {
        self.rows * self.width
    }

    /// The values, read back.
    pub fn read(&self, backend: &B) -> Result<Vec<f32>> {
        read(backend, &self.values, self.len())
    }

    /// Values and moments, with their names in checkpoints.
    pub fn state(&self, backend: &B) -> Result<Vec<(String, Vec<f32>)>> {
        let parts = [
            ("", &self.values),
            (".first", &self.first),
            (".second", &self.second),
        ];
        parts
            .into_iter()
            .map(|(suffix, part)| Ok((format!("{}{suffix}", self.name), read(backend, part, self.len())?)))
            .collect()
    }

    /// Puts values and moments back; `of` gives them by name.
    pub fn restore(
        &mut self,
        backend: &B,
        of: &mut dyn FnMut(&str, usize) -> Result<Vec<f32>>,
    ) -> Result<()> {
        let len = self.len();
        let parts = [
            ("", &mut self.values),
            (".first", &mut self.first),
            (".second", &mut self.second),
        ];
        for (suffix, part) in parts {
            let values = of(&format!("{}{suffix}", self.name), len)?;
            backend.write(part, 0, &values)?;
        }
        Ok(())
    }

    /// One step of Adam.
    pub fn descend(&mut self, backend: &B, step: &AdamStep, unit_rows: bool) -> Result<()> {
        let trained = Trained {
            weights: &mut self.values,
            first: &mut self.first,
            second: &mut self.second,
        };
        backend.adam(trained, &self.gradient, self.rows, self.width, step, unit_rows)?;
        Ok(())
    }
}

/// Elements of a buffer, read back.
pub(crate) fn read<B: TrainingBackend>(backend: &B, buffer: &B::Buffer, len: usize) -> Result<Vec<f32>> {
    let mut values = vec![0.0; len];
    backend.read(buffer, 0, &mut values)?;
    Ok(values)
}

/// All of them. Encoder [features, width], decoder [features, output width].
#[derive(Debug)]
pub(crate) struct Weights<B: TrainingBackend> {
    pub encoder: Parameter<B>,
    /// Of a gated dictionary the bias of the gates.
    pub encoder_bias: Parameter<B>,
    pub decoder: Parameter<B>,
    pub decoder_bias: Parameter<B>,
    /// Of JumpReLU.
    pub threshold: Option<Parameter<B>>,
    /// Of a gated dictionary: r_mag and b_mag.
    pub magnitude: Option<[Parameter<B>; 2]>,
    /// Of a skip transcoder, [output width, width].
    pub skip: Option<Parameter<B>>,
}

/// Which of the optional arrays a dictionary has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extras {
    pub threshold: bool,
    pub magnitude: bool,
    pub skip: bool,
}

impl<B: TrainingBackend> Weights<B> {
    /// First weights: decoder rows in random directions, of length one; the encoder equal to them, or where it reads
    /// another width, random too; biases zero but for the decoder's.
    pub fn new(backend: &B, shape: &StepShape, extras: Extras, seed: u64, decoder_bias: &[f32]) -> Self {
        let StepShape {
            width,
            output_width,
            features,
            tied,
        } = *shape;
        let decoder = directions(seed, 0, features, output_width);
        // A transcoder's encoder reads another space: nothing ties it to the decoder.
        let encoder = if tied {
            decoder.clone()
        } else {
            directions(seed, 1, features, width)
        };
        let vector = |name, len: usize| Parameter::new(backend, name, (1, len), &vec![0.0; len]);
        Self {
            encoder: Parameter::new(backend, "encoder", (features, width), &encoder),
            encoder_bias: vector("encoder_bias", features),
            decoder: Parameter::new(backend, "decoder", (features, output_width), &decoder),
            decoder_bias: Parameter::new(backend, "decoder_bias", (1, output_width), decoder_bias),
            threshold: extras.threshold.then(|| vector("threshold", features)),
            magnitude: extras
                .magnitude
                .then(|| ["log_scale", "magnitude_bias"].map(|name| vector(name, features))),
            skip: extras.skip.then(|| {
                let zeros = vec![0.0; output_width * width];
                Parameter::new(backend, "skip", (output_width, width), &zeros)
            }),
        }
    }

    /// Every array, in the order of checkpoints.
    pub fn all(&self) -> impl Iterator<Item = &Parameter<B>> {
        [
            &self.encoder,
            &self.encoder_bias,
            &self.decoder,
            &self.decoder_bias,
        ]
        .into_iter()
        .chain(&self.threshold)
        .chain(self.magnitude.iter().flatten())
        .chain(&self.skip)
    }

    /// Every array, in the order of checkpoints.
    pub fn all_mut(&mut self) -> impl Iterator<Item = &mut Parameter<B>> {
        [
            &mut self.encoder,
            &mut self.encoder_bias,
            &mut self.decoder,
            &mut self.decoder_bias,
        ]
        .into_iter()
        .chain(&mut self.threshold)
        .chain(self.magnitude.iter_mut().flatten())
        .chain(&mut self.skip)
    }
}

/// Rows of length one in random directions: normal numbers, divided by their length.
fn directions(seed: u64, stream: u64, rows: usize, width: usize) -> Vec<f32> {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(stream);
    let mut values = vec![0.0; rows * width];
    for row in values.chunks_exact_mut(width) {
        let mut square = 0.0;
        let normal: Vec<f64> = (0..width).map(|_| normal(&mut generator)).collect();
        normal.iter().for_each(|value| square += value * value);
        let length = square.sqrt().max(f64::MIN_POSITIVE);
        for (to, value) in row.iter_mut().zip(normal) {
            *to = (value / length) as f32;
        }
    }
    values
}

/// A standard normal number (Box and Muller 1958).
fn normal(generator: &mut ChaCha8Rng) -> f64 {
    // 53 bits, above zero and up to one.
    let mut uniform = || ((generator.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64;
    let (radius, angle) = ((-2.0 * uniform().ln()).sqrt(), std::f64::consts::TAU * uniform());
    radius * angle.cos()
}
