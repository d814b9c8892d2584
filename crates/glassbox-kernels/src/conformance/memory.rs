//! Buffers, matrices, moving rows.

use std::sync::Arc;

use super::compare::{EXACT, UNTOUCHED, agree, content, input, matrix, numbers, output, stored_bytes};
use crate::backend::{AttentionShape, Backend, StoredType, StoredValues};
use crate::mapped_file::MappedFile;

/// Buffers and matrices hold what was put in; rows move to where they should.
pub fn check_memory<B: Backend>(backend: &B) {
    buffers(backend);
    matrices(backend);
    mapped(backend);
    rows(backend);
    caches(backend);
    assert!(!backend.name().is_empty() && !backend.instruction_set().is_empty());
}

fn buffers<B: Backend>(backend: &B) {
    assert_eq!(content(backend, &backend.zeros(37)), vec![0.0; 37]);
    assert_eq!(content(backend, &backend.zeros(0)), Vec::<f32>::new());
    let mut values = numbers(1, 21);
    let mut buffer = backend.upload(&values);
    assert_eq!(content(backend, &buffer), values);
    backend.write(&mut buffer, 17, &[1.0, 2.0, 3.0]).unwrap();
    backend.write(&mut buffer, 21, &[]).unwrap();
    values[17..20].copy_from_slice(&[1.0, 2.0, 3.0]);
    assert_eq!(content(backend, &buffer), values);
    let mut part = [0.0; 4];
    backend.read(&buffer, 16, &mut part).unwrap();
    assert_eq!(part, values[16..20]);
    for n in [0, 1, 40, 1000] {
        agree!(backend, EXACT, format!("copy {n}"), |b| {
            let mut dst = output(b, n);
            b.copy(&input(b, 2, n), n, &mut dst).unwrap();
            content(b, &dst)
        });
        agree!(backend, EXACT, format!("fill {n}"), |b| {
            let mut dst = output(b, n);
            b.fill(&mut dst, n, -2.5).unwrap();
            content(b, &dst)
        });
    }
}

fn matrices<B: Backend>(backend: &B) {
    for (rows, columns) in [(0, 3), (1, 1), (3, 5), (37, 66), (70, 33)] {
        let count = rows * columns;
        let singles: Vec<u8> = numbers(3, count).iter().flat_map(|x| x.to_le_bytes()).collect();
        // All bit patterns of 16-bit numbers are met but NaNs, whose payload may change.
        let patterns = (0..count).map(|i| (i * 40_503 + 17) as u16);
        let halves: Vec<u8> = patterns
            .flat_map(|bits| {
                if bits & 0x7c00 == 0x7c00 {
                    [0; 2]
                } else {
                    bits.to_le_bytes()
                }
            })
            .collect();
        for (name, stored) in [
            ("f32", StoredValues::F32(&singles)),
            ("bf16", StoredValues::Bf16(&halves)),
            ("f16", StoredValues::F16(&halves)),
        ] {
            let all: Vec<u32> = (0..rows as u32).collect();
            agree!(
                backend,
                EXACT,
                format!("matrix {name} [{rows}, {columns}]"),
                |b| {
                    let matrix = b.matrix(stored, rows, columns).unwrap();
                    assert_eq!(b.matrix_shape(&matrix), (rows, columns));
                    let mut dst = output(b, count);
                    b.matrix_rows(&matrix, &all, &mut dst).unwrap();
                    content(b, &dst)
                }
            );
            agree!(
                backend,
                EXACT,
                format!("matrix_from_transposed {name} [{rows}, {columns}]"),
                |b| {
                    let matrix = b.matrix_from_transposed(stored, rows, columns).unwrap();
                    assert_eq!(b.matrix_shape(&matrix), (rows, columns));
                    let mut dst = output(b, count);
                    b.matrix_rows(&matrix, &all, &mut dst).unwrap();
                    content(b, &dst)
                }
            );
        }
    }
    agree!(backend, EXACT, format!("embed"), |b| {
        let table = matrix(b, 4, 9, 21);
        let mut dst = output(b, 4 * 21);
        b.embed(&table, &[8, 0, 3, 3], &mut dst).unwrap();
        content(b, &dst)
    });
}

/// Matrices in a file, at places that are aligned to their elements and at places that are not.
fn mapped<B: Backend>(backend: &B) {
    let path = std::env::temp_dir().join(format!("glassbox-mapped-{}", std::process::id()));
    let name = format!("{:?}", std::thread::current().id());
    let path = path.with_extension(name.replace(|c: char| !c.is_ascii_digit(), ""));
    for element in [StoredType::F32, StoredType::Bf16, StoredType::F16] {
        for (rows, columns) in [(0, 3), (3, 5), (37, 66)] {
            for at in [0, 1, 2, 8] {
                let mut bytes = vec![0xff; at];
                bytes.extend(stored_bytes(element, &numbers(9, rows * columns)));
                std::fs::write(&path, &bytes).unwrap();
                let file = Arc::new(MappedFile::open(&path).unwrap());
                std::fs::remove_file(&path).unwrap();
                let all: Vec<u32> = (0..rows as u32).collect();
                agree!(
                    backend,
                    EXACT,
                    format!("matrix_mapped {element:?} [{rows}, {columns}] at {at}"),
                    |b| {
                        let matrix = b.matrix_mapped(&file, at, element, rows, columns).unwrap();
                        assert_eq!(b.matrix_shape(&matrix), (rows, columns));
                        let mut dst = output(b, rows * columns);
                        b.matrix_rows(&matrix, &all, &mut dst).unwrap();
                        content(b, &dst)
                    }
                );
                for (at, rows) in [(at + 1, rows), (usize::MAX, rows), (at, usize::MAX)] {
                    if rows > 0 {
                        let refused = backend.matrix_mapped(&file, at, element, rows, columns);
                        assert!(refused.is_err(), "a matrix beyond the end of its file");
                    }
                }
            }
        }
    }
}

fn rows<B: Backend>(backend: &B) {
    for width in [1, 7, 64, 130] {
        let chosen = [4u32, 0, 2, 2];
        agree!(backend, EXACT, format!("gather_rows {width}"), |b| {
            let mut dst = output(b, 4 * width);
            b.gather_rows(&input(b, 5, 5 * width), width, &chosen, &mut dst)
                .unwrap();
            content(b, &dst)
        });
        agree!(backend, EXACT, format!("scatter_rows {width}"), |b| {
            let mut dst = output(b, 5 * width);
            b.scatter_rows(&input(b, 6, 4 * width), width, &chosen, &mut dst)
                .unwrap();
            content(b, &dst)
        });
    }
    let mut dst = output(backend, 0);
    backend
        .gather_rows(&input(backend, 5, 4), 2, &[], &mut dst)
        .unwrap();
    backend
        .scatter_rows(&input(backend, 5, 4), 2, &[], &mut dst)
        .unwrap();
    assert_eq!(content(backend, &dst), vec![UNTOUCHED; 3]);
}

fn caches<B: Backend>(backend: &B) {
    for (batch, queries, keys, capacity) in [
        (1, 1, 1, 1),
        (3, 2, 6, 9),
        (2, 4, 4, 4),
        (2, 0, 3, 4),
        (0, 2, 2, 2),
    ] {
        let shape = AttentionShape {
            batch,
            queries,
            heads: 6,
            kv_heads: 3,
            head_dim: 5,
            keys,
            capacity,
            first_query: keys - queries,
            window: None,
            scale: 1.0,
        };
        agree!(backend, EXACT, format!("cache_write {shape:?}"), |b| {
            let mut cache = output(b, batch * capacity * 15);
            b.cache_write(&input(b, 7, batch * queries * 15), &shape, &mut cache)
                .unwrap();
            content(b, &cache)
        });
    }
    for (filled, src_capacity, dst_capacity) in [(0, 4, 2), (3, 4, 3), (4, 4, 9), (1, 8, 1)] {
        let context = format!("cache_select {filled} of {src_capacity} into {dst_capacity}");
        agree!(backend, EXACT, context, |b| {
            let mut dst = output(b, 4 * dst_capacity * 6);
            let src = input(b, 8, 3 * src_capacity * 6);
            b.cache_select(
                &src,
                src_capacity,
                6,
                filled,
                &[2, 0, 0, 1],
                dst_capacity,
                &mut dst,
            )
            .unwrap();
            content(b, &dst)
        });
    }
}
