//! The names that a pickle may refer to.

use crate::element_type::ElementType;

/// A name on the closed list, by what it makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Global {
    /// A dict.
    Dict,
    /// A set.
    Set,
    /// A type of storage: `torch.FloatStorage`.
    Storage(ElementType),
    /// `torch._utils._rebuild_tensor` and `_rebuild_tensor_v2`.
    Tensor,
    /// `torch._utils._rebuild_parameter`: the tensor in it.
    Parameter,
    /// `torch.Size`: a tuple.
    Size,
    /// A value that nothing here needs: devices, layouts, element types.
    Opaque(&'static str),
    /// `numpy.dtype`.
    NumpyType,
    /// `numpy.core.multiarray.scalar`.
    NumpyScalar,
    /// `_codecs.encode`: bytes, as protocol 2 writes them.
    Bytes,
}

/// The list, in words.
pub(crate) const LIST: &str = "dicts and sets, torch tensors, parameters, storages, sizes, devices, layouts and \
                               element types, and NumPy scalars";

/// Finds a name on the list.
pub(crate) fn find(module: &str, name: &str) -> Option<Global> {
    Some(match (module, name) {
        ("collections", "OrderedDict" | "defaultdict" | "Counter") => Global::Dict,
        ("builtins" | "__builtin__", "dict") => Global::Dict,
        ("builtins" | "__builtin__", "set" | "frozenset") => Global::Set,
        // The makers of a defaultdict's values.
        ("builtins" | "__builtin__", "list" | "tuple" | "int" | "float" | "bool" | "str") => {
            Global::Opaque("a type")
        }
        ("torch", name) if name.ends_with("Storage") => Global::Storage(storage_type(name)?),
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Global::Tensor,
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Global::Parameter,
        ("torch", "Size") => Global::Size,
        ("torch", "device") => Global::Opaque("a device"),
        ("torch.serialization", "_get_layout") | ("torch", "strided") => Global::Opaque("a layout"),
        (
            "torch",
            "float64" | "float32" | "float16" | "bfloat16" | "int64" | "int32" | "int16" | "int8" | "uint8"
            | "bool" | "double" | "float" | "half" | "long" | "int" | "short",
        ) => Global::Opaque("an element type"),
        ("numpy", "dtype") => Global::NumpyType,
        ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => Global::NumpyScalar,
        ("_codecs", "encode") => Global::Bytes,
        _ => return None,
    })
}

fn storage_type(name: &str) -> Option<ElementType> {
    Some(match name.strip_suffix("Storage")? {
        "Double" => ElementType::F64,
        "Float" => ElementType::F32,
        "Half" => ElementType::F16,
        "BFloat16" => ElementType::Bf16,
        "Long" => ElementType::I64,
        "Int" => ElementType::I32,
        "Short" => ElementType::I16,
        "Char" => ElementType::I8,
        "Byte" => ElementType::U8,
        "Bool" => ElementType::Bool,
        _ => return None,
    })
}
