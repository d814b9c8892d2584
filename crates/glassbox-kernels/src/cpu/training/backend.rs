//! [`TrainingBackend`] for [`CpuBackend`]: checks the operands and hands their elements on.

use super::super::memory::CpuBuffer;
use super::codes::CpuCodes;
use super::encode::{Choice, Encoder};
use super::{dense, gradients, optimizer};
use crate::CpuBackend;
use crate::backend::Result;
use crate::operands::{self, product, sizes};
use crate::training::{AdamStep, CodeTotals, SparseRows, Trained, TrainingBackend};

impl TrainingBackend for CpuBackend {
    type Codes = CpuCodes;

    fn encode_top_k(
        &self,
        x: &CpuBuffer,
        n: usize,
        width: usize,
        encoder: &CpuBuffer,
        bias: &CpuBuffer,
        features: usize,
        k: usize,
        codes: &mut CpuCodes,
    ) -> Result<()> {
        let op = "encode_top_k";
        operands::encoder(op, (n, width, features), (x.len(), encoder.len(), bias.len()))?;
        operands::not_zero(op, "k", k)?;
        let encoder = Encoder {
            n,
            width,
            features,
            x: x.values(),
            encoder: encoder.values(),
            bias: bias.values(),
        };
        encoder.encode(Choice::TopK(k.min(features)), codes);
        Ok(())
    }

    fn encode_above(
        &self,
        x: &CpuBuffer,
        n: usize,
        width: usize,
        encoder: &CpuBuffer,
        bias: &CpuBuffer,
        features: usize,
        bound: &CpuBuffer,
        codes: &mut CpuCodes,
    ) -> Result<()> {
        let op = "encode_above";
        operands::encoder(op, (n, width, features), (x.len(), encoder.len(), bias.len()))?;
        sizes(op, &[("bound", bound.len(), features)])?;
        let encoder = Encoder {
            n,
            width,
            features,
            x: x.values(),
            encoder: encoder.values(),
            bias: bias.values(),
        };
        encoder.encode(Choice::Above(bound.values()), codes);
        Ok(())
    }

    fn keep_largest(&self, codes: &mut CpuCodes, count: usize) -> Result<Option<f32>> {
        Ok(codes.keep_largest(count))
    }

    fn copy_codes(&self, from: &CpuCodes, to: &mut CpuCodes) -> Result<()> {
        to.copy_from(from);
        Ok(())
    }

    fn count_codes(&self, codes: &CpuCodes, counts: &mut [u32]) -> Result<CodeTotals> {
        sizes("count_codes", &[("counts", counts.len(), codes.features)])?;
        Ok(codes.count(counts))
    }

    fn code_pairs(&self, codes: &CpuCodes) -> usize {
        codes.len()
    }

    fn read_codes(&self, codes: &CpuCodes) -> Result<SparseRows> {
        Ok(codes.read())
    }

    fn jump_relu(&self, codes: &mut CpuCodes, threshold: &CpuBuffer) -> Result<()> {
        sizes("jump_relu", &[("threshold", threshold.len(), codes.features)])?;
        let threshold = threshold.values();
        codes.set_values(|feature, z| if z <= threshold[feature] { 0.0 } else { z });
        Ok(())
    }

    fn magnitude(
        &self,
        codes: &mut CpuCodes,
        gate_bias: &CpuBuffer,
        log_scale: &CpuBuffer,
        bias: &CpuBuffer,
    ) -> Result<()> {
        let features = codes.features;
        sizes(
            "magnitude",
            &[
                ("gate_bias", gate_bias.len(), features),
                ("log_scale", log_scale.len(), features),
                ("bias", bias.len(), features),
            ],
        )?;
        let (gate_bias, bias) = (gate_bias.values(), bias.values());
        let scale: Vec<f32> = log_scale.values()[..features].iter().map(|r| r.exp()).collect();
        codes.set_values(|feature, z| {
            let magnitude = scale[feature] * (z - gate_bias[feature]) + bias[feature];
            if magnitude <= 0.0 { 0.0 } else { magnitude }
        });
        Ok(())
    }

    fn decode_codes(
        &self,
        codes: &CpuCodes,
        decoder: &CpuBuffer,
        width: usize,
        bias: Option<&CpuBuffer>,
        ends: &[u32],
        y: &mut CpuBuffer,
    ) -> Result<()> {
        let op = "decode_codes";
        operands::prefixes(op, ends, codes.features)?;
        operands::not_zero(op, "width", width)?;
        sizes(
            op,
            &[
                ("decoder", decoder.len(), product(&[codes.features, width])),
                ("bias", bias.map_or(width, CpuBuffer::len), width),
                ("y", y.len(), product(&[ends.len(), codes.rows, width])),
            ],
        )?;
        gradients::decode(
            codes,
            decoder.values(),
            width,
            bias.map(CpuBuffer::values),
            ends,
            y.values_mut(),
        );
        Ok(())
    }

    fn residual(
        &self,
        target: &CpuBuffer,
        count: usize,
        scales: &[f32],
        y: &mut CpuBuffer,
    ) -> Result<Vec<f64>> {
        sizes(
            "residual",
            &[
                ("target", target.len(), count),
                ("y", y.len(), product(&[scales.len(), count])),
            ],
        )?;
        Ok(dense::residual(&target.values()[..count], scales, y.values_mut()))
    }

    fn decoder_backward(
        &self,
        codes: &mut CpuCodes,
        error: &CpuBuffer,
        decoder: &CpuBuffer,
        width: usize,
        ends: &[u32],
        accumulate: bool,
        d_decoder: Option<&mut CpuBuffer>,
    ) -> Result<()> {
        let op = "decoder_backward";
        operands::prefixes(op, ends, codes.features)?;
        operands::not_zero(op, "width", width)?;
        let matrix = product(&[codes.features, width]);
        sizes(
            op,
            &[
                ("error", error.len(), product(&[ends.len(), codes.rows, width])),
                ("decoder", decoder.len(), matrix),
                (
                    "d_decoder",
                    d_decoder.as_ref().map_or(matrix, |d| d.len()),
                    matrix,
                ),
            ],
        )?;
        gradients::decoder_backward(
            codes,
            error.values(),
            decoder.values(),
            width,
            ends,
            accumulate,
            d_decoder.map(CpuBuffer::values_mut),
        );
        Ok(())
    }

    fn relu_backward(&self, codes: &mut CpuCodes, l1: f32) -> Result<()> {
        gradients::relu_backward(codes, l1);
        Ok(())
    }

    fn jump_relu_backward(
        &self,
        codes: &mut CpuCodes,
        threshold: &CpuBuffer,
        bandwidth: f32,
        l0: f32,
        d_threshold: &mut CpuBuffer,
    ) -> Result<()> {
        let op = "jump_relu_backward";
        operands::positive(op, "bandwidth", bandwidth)?;
        sizes(
            op,
            &[
                ("threshold", threshold.len(), codes.features),
                ("d_threshold", d_threshold.len(), codes.features),
            ],
        )?;
        gradients::jump_relu_backward(codes, threshold.values(), bandwidth, l0, d_threshold.values_mut());
        Ok(())
    }

    fn magnitude_backward(
        &self,
        codes: &mut CpuCodes,
        gate_bias: &CpuBuffer,
        log_scale: &CpuBuffer,
        d_log_scale: &mut CpuBuffer,
        d_bias: &mut CpuBuffer,
    ) -> Result<()> {
        let features = codes.features;
        sizes(
            "magnitude_backward",
            &[
                ("gate_bias", gate_bias.len(), features),
                ("log_scale", log_scale.len(), features),
                ("d_log_scale", d_log_scale.len(), features),
                ("d_bias", d_bias.len(), features),
            ],
        )?;
        gradients::magnitude_backward(
            codes,
            gate_bias.values(),
            log_scale.values(),
            d_log_scale.values_mut(),
            d_bias.values_mut(),
        );
        Ok(())
    }

    fn encoder_backward(
        &self,
        codes: &CpuCodes,
        x: &CpuBuffer,
        width: usize,
        accumulate: bool,
        d_encoder: &mut CpuBuffer,
        d_bias: &mut CpuBuffer,
    ) -> Result<()> {
        let op = "encoder_backward";
        operands::not_zero(op, "width", width)?;
        sizes(
            op,
            &[
                ("x", x.len(), product(&[codes.rows, width])),
                ("d_encoder", d_encoder.len(), product(&[codes.features, width])),
                ("d_bias", d_bias.len(), codes.features),
            ],
        )?;
        gradients::encoder_backward(
            codes,
            x.values(),
            width,
            accumulate,
            d_encoder.values_mut(),
            d_bias.values_mut(),
        );
        Ok(())
    }

    fn scale_and_shift(
        &self,
        x: &CpuBuffer,
        n: usize,
        width: usize,
        scale: f32,
        shift: Option<&CpuBuffer>,
        y: &mut CpuBuffer,
    ) -> Result<()> {
        let op = "scale_and_shift";
        operands::not_zero(op, "width", width)?;
        let count = product(&[n, width]);
        sizes(
            op,
            &[
                ("x", x.len(), count),
                ("shift", shift.map_or(width, CpuBuffer::len), width),
                ("y", y.len(), count),
            ],
        )?;
        dense::scale_and_shift(
            &x.values()[..count],
            width,
            scale,
            shift.map(CpuBuffer::values),
            &mut y.values_mut()[..count],
        );
        Ok(())
    }

    fn column_sums(
        &self,
        x: &CpuBuffer,
        n: usize,
        width: usize,
        accumulate: bool,
        sums: &mut CpuBuffer,
    ) -> Result<()> {
        let op = "column_sums";
        operands::not_zero(op, "width", width)?;
        let count = product(&[n, width]);
        sizes(op, &[("x", x.len(), count), ("sums", sums.len(), width)])?;
        dense::column_sums(
            &x.values()[..count],
            width,
            accumulate,
            &mut sums.values_mut()[..width],
        );
        Ok(())
    }

    fn sum_of_squares(&self, x: &CpuBuffer, n: usize) -> Result<f64> {
        sizes("sum_of_squares", &[("x", x.len(), n)])?;
        Ok(dense::sum_of_squares(&x.values()[..n]))
    }

    fn relu_rows(
        &self,
        z: &mut CpuBuffer,
        n: usize,
        features: usize,
        bias: &CpuBuffer,
        counts: &mut [u32],
    ) -> Result<CodeTotals> {
        let op = "relu_rows";
        operands::not_zero(op, "features", features)?;
        let count = product(&[n, features]);
        sizes(
            op,
            &[
                ("z", z.len(), count),
                ("bias", bias.len(), features),
                ("counts", counts.len(), features),
            ],
        )?;
        Ok(dense::relu_rows(
            &mut z.values_mut()[..count],
            features,
            bias.values(),
            counts,
        ))
    }

    fn relu_rows_backward(
        &self,
        f: &CpuBuffer,
        n: usize,
        features: usize,
        l1: f32,
        d: &mut CpuBuffer,
    ) -> Result<()> {
        let count = product(&[n, features]);
        sizes(
            "relu_rows_backward",
            &[("f", f.len(), count), ("d", d.len(), count)],
        )?;
        dense::relu_rows_backward(f.values(), l1, &mut d.values_mut()[..count]);
        Ok(())
    }

    fn remove_parallel(
        &self,
        gradient: &mut CpuBuffer,
        weights: &CpuBuffer,
        rows: usize,
        width: usize,
    ) -> Result<()> {
        let op = "remove_parallel";
        operands::not_zero(op, "width", width)?;
        let count = product(&[rows, width]);
        sizes(
            op,
            &[
                ("gradient", gradient.len(), count),
                ("weights", weights.len(), count),
            ],
        )?;
        dense::remove_parallel(&mut gradient.values_mut()[..count], weights.values(), width);
        Ok(())
    }

    fn adam(
        &self,
        trained: Trained<'_, CpuBuffer>,
        gradient: &CpuBuffer,
        rows: usize,
        width: usize,
        step: &AdamStep,
        unit_rows: bool,
    ) -> Result<()> {
        let op = "adam";
        operands::not_zero(op, "width", width)?;
        operands::adam(op, step)?;
        let count = product(&[rows, width]);
        sizes(
            op,
            &[
                ("weights", trained.weights.len(), count),
                ("first", trained.first.len(), count),
                ("second", trained.second.len(), count),
                ("gradient", gradient.len(), count),
            ],
        )?;
        optimizer::adam(
            (
                &mut trained.weights.values_mut()[..count],
                &mut trained.first.values_mut()[..count],
                &mut trained.second.values_mut()[..count],
            ),
            &gradient.values()[..count],
            width,
            step,
            unit_rows,
        );
        Ok(())
    }

    fn raise_to(&self, x: &mut CpuBuffer, n: usize, least: f32) -> Result<()> {
        sizes("raise_to", &[("x", x.len(), n)])?;
        dense::raise_to(&mut x.values_mut()[..n], least);
        Ok(())
    }
}
