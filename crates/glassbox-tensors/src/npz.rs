//! NumPy archives: zip files of arrays, stored (`np.savez`) or deflated (`np.savez_compressed`).

use crate::npy::{LONGEST_HEADER, NpyHeader};
use crate::stored_tensor::{Packing, Run, StoredTensor, check_sum};
use crate::tensor_file::Tensors;
use crate::zip_directory::ZipEntry;

const SUFFIX: &str = ".npy";

/// Whether an archive's entries are arrays.
pub(crate) fn is_npz(entries: &[ZipEntry]) -> bool {
    !entries.is_empty() && entries.iter().all(|entry| entry.name.ends_with(SUFFIX))
}

/// The arrays of an archive, by their names without `.npy`.
pub(crate) fn read_npz(bytes: &[u8], entries: Vec<ZipEntry>) -> Result<Tensors, String> {
    let mut tensors = Tensors::default();
    for entry in entries {
        let name = entry.name.strip_suffix(SUFFIX).unwrap_or(&entry.name).to_owned();
        let of_entry = |what: String| format!("array `{name}`: {what}");
        if entry.run.packing == Packing::Stored {
            // What is decompressed is checked when it is.
            let stored = entry.run.bytes(bytes).map_err(of_entry)?;
            if check_sum(stored) != entry.checksum {
                return Err(of_entry("its checksum (CRC-32) is wrong".into()));
            }
        }
        let tensor = array(bytes, &entry.run, tensors.runs.len()).map_err(of_entry)?;
        tensors.runs.push(entry.run);
        tensors.push(name, tensor)?;
    }
    Ok(tensors)
}

/// One array file as the whole of the bytes.
pub(crate) fn read_npy(bytes: &[u8]) -> Result<Tensors, String> {
    let run = Run::new(0..bytes.len(), Packing::Stored);
    let mut tensors = Tensors::default();
    tensors.push("array".to_owned(), array(bytes, &run, 0)?)?;
    tensors.runs.push(run);
    Ok(tensors)
}

fn array(bytes: &[u8], run: &Run, number: usize) -> Result<StoredTensor, String> {
    let header = NpyHeader::read(&run.beginning(bytes, LONGEST_HEADER)?)?;
    let tensor = StoredTensor::strided(
        header.element_type,
        header.shape.clone(),
        strides(&header).ok_or_else(|| format!("shape {:?} is too large", header.shape))?,
        number,
        header.data_start,
        run.length(),
        header.big_endian,
    )?;
    let end = header.data_start + tensor.count() * header.element_type.bytes();
    if end as u64 == run.length() {
        Ok(tensor)
    } else {
        Err(format!(
            "{} bytes follow the {:?} elements of its header",
            run.length() - end as u64,
            header.shape
        ))
    }
}

/// Steps in elements along each axis: the first axis varies fastest in Fortran order, the last in C order.
fn strides(header: &NpyHeader) -> Option<Vec<usize>> {
    let mut strides = vec![1_usize; header.shape.len()];
    let mut step = 1_usize;
    let mut walk = |axis: usize| -> Option<()> {
        strides[axis] = step;
        step = step.checked_mul(header.shape[axis].max(1))?;
        Some(())
    };
    if header.fortran_order {
        (0..header.shape.len()).try_for_each(&mut walk)?;
    } else {
        (0..header.shape.len()).rev().try_for_each(&mut walk)?;
    }
    Some(strides)
}
