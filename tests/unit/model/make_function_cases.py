#!/usr/bin/python3
"""Writes function_cases.json: calls of functions and what NumPy gives for them.

Run it after changing it; the test reads only the JSON.
"""
import math
import pathlib

import numpy as np

from cases import Slice, case, integers, noise, positive, RNG, write


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def erf(x):
    return np.vectorize(math.erf)(x).astype(np.float32)


def elementwise():
    x, y, p = noise(3, 4), noise(3, 4), positive(3, 4)
    unit = RNG.uniform(-0.9, 0.9, (3, 4)).astype(np.float32)
    for name, function, value in [
            ("abs", np.abs, x), ("negative", np.negative, x), ("sign", np.sign, x),
            ("square", np.square, x), ("sqrt", np.sqrt, p), ("exp", np.exp, x),
            ("expm1", np.expm1, x), ("log", np.log, p), ("log1p", np.log1p, p),
            ("log2", np.log2, p), ("log10", np.log10, p), ("sin", np.sin, x), ("cos", np.cos, x),
            ("tan", np.tan, unit), ("arcsin", np.arcsin, unit), ("arccos", np.arccos, unit),
            ("arctan", np.arctan, x), ("sinh", np.sinh, x), ("cosh", np.cosh, x),
            ("tanh", np.tanh, x), ("arcsinh", np.arcsinh, x), ("arccosh", np.arccosh, p + 1),
            ("arctanh", np.arctanh, unit), ("floor", np.floor, x), ("ceil", np.ceil, x),
            ("trunc", np.trunc, x), ("reciprocal", np.reciprocal, p), ("exp2", np.exp2, x),
            ("cbrt", np.cbrt, x), ("deg2rad", np.deg2rad, x), ("rad2deg", np.rad2deg, x),
            ("isnan", np.isnan, x), ("isfinite", np.isfinite, x), ("signbit", np.signbit, x)]:
        case("keras_ops", name, [value], {}, function(value))
        case("numpy", "np." + name, [value], {}, function(value))
    halves = np.array([0.5, 1.5, -0.5, -1.5, 2.4, 2.6], np.float32)
    case("keras_ops", "round", [halves], {}, np.round(halves))
    case("keras_ops", "rsqrt", [p], {}, 1 / np.sqrt(p))
    case("keras_ops", "erf", [x], {}, erf(x))
    for name, function in [("add", np.add), ("subtract", np.subtract), ("multiply", np.multiply),
                           ("divide", np.divide), ("maximum", np.maximum),
                           ("minimum", np.minimum), ("floor_divide", np.floor_divide),
                           ("mod", np.mod), ("arctan2", np.arctan2), ("hypot", np.hypot),
                           ("logaddexp", np.logaddexp), ("equal", np.equal), ("less", np.less),
                           ("greater_equal", np.greater_equal)]:
        case("keras_ops", name, [x, y[0]], {}, function(x, y[0]))
    case("keras_ops", "power", [p, y], {}, np.power(p, y))
    i, j = integers(-9, 9, 6), np.array([2, -3, 4, -2, 5, 3])
    case("tensorflow", "math.floordiv", [i], {"y": j}, i // j)
    case("tensorflow", "math.floormod", [i], {"y": j}, i % j)
    case("tensorflow", "math.truediv", [i], {"y": j}, (i / j).astype(np.float32))
    case("tensorflow", "truncatemod", [i], {"y": j}, np.fmod(i, j))
    case("tensorflow_node", "Div", [i, j], {"T": "DT_INT32"}, np.trunc(i / j).astype(np.int64))
    case("tensorflow", "__operators__.add", [x], {"y": 1}, x + 1)
    case("tensorflow", "math.subtract", [1], {"y": x}, 1 - x)
    case("tensorflow", "math.multiply", [x], {"y": 2.5, "name": None}, x * np.float32(2.5))
    case("tensorflow", "math.pow", [p], {"y": 2}, p ** 2)
    case("tensorflow", "math.squared_difference", [x], {"y": y}, (x - y) ** 2)
    case("tensorflow", "math.divide_no_nan", [x], {"y": np.zeros(4, np.float32)}, np.zeros_like(x))
    case("tensorflow", "clip_by_value", [x], {"clip_value_min": -1.0, "clip_value_max": 0.5},
         np.clip(x, -1, 0.5))
    case("backend", "clip", [x, -1, 1], {}, np.clip(x, -1, 1))
    case("keras_operation", "Clip", [i], {"x_min": -2, "x_max": 3}, np.clip(i, -2, 3))
    case("keras_ops", "where", [x > 0, x, y], {}, np.where(x > 0, x, y))
    case("backend", "switch", [x[:, 0] > 0, x, y], {}, np.where(x[:, :1] > 0, x, y))
    case("keras_ops", "logical_and", [x > 0, y > 0], {}, (x > 0) & (y > 0))
    case("keras_ops", "logical_not", [x > 0], {}, x <= 0)
    case("tensorflow", "cast", [x], {"dtype": "int32"}, x.astype(np.int64))
    case("tensorflow", "cast", [x > 0], {"dtype": "float32"}, (x > 0).astype(np.float32))
    case("tensorflow_node", "Cast", [x], {"DstT": "DT_BOOL", "SrcT": "DT_FLOAT"}, x != 0)
    case("tensorflow", "add_n", [[x, y, p]], {}, x + y + p)
    case("tensorflow", "nn.bias_add", [x], {"bias": y[0]}, x + y[0])
    case("keras_ops", "nan_to_num", [np.array([np.nan, np.inf, -np.inf, 1], np.float32)], {},
         np.nan_to_num(np.array([np.nan, np.inf, -np.inf, 1], np.float32)))
    case("keras_ops", "digitize", [x, [-1.0, 0.0, 1.0]], {}, np.digitize(x, [-1.0, 0.0, 1.0]))
    case("keras_operation", "NotEqual", [np.array([0, 1, 0], np.float32), 0.0], {},
         np.array([False, True, False]))
    case("keras_operation", "TrueDivide", [i, 4], {}, (i / 4).astype(np.float32))


def activations():
    x = noise(3, 4)
    relu = np.maximum(x, 0)
    case("keras_operation", "Relu", [x], {}, relu)
    case("tensorflow", "nn.relu", [x], {}, relu)
    case("tensorflow", "nn.relu6", [x * 5], {}, np.clip(x * 5, 0, 6))
    case("tensorflow", "nn.leaky_relu", [x], {}, np.where(x > 0, x, 0.2 * x).astype(np.float32))
    case("tensorflow", "nn.leaky_relu", [x], {"alpha": 0.1},
         np.where(x > 0, x, 0.1 * x).astype(np.float32))
    case("backend", "relu", [x], {"alpha": 0.1, "max_value": 1.0},
         np.where(x > 0, np.minimum(x, 1), 0.1 * x).astype(np.float32))
    case("keras_ops", "elu", [x], {"alpha": 0.5}, np.where(x > 0, x, 0.5 * np.expm1(x)))
    case("keras_ops", "nn.sigmoid", [x], {}, sigmoid(x))
    case("tensorflow", "math.sigmoid", [x], {}, sigmoid(x))
    case("keras_ops", "silu", [x], {}, x * sigmoid(x))
    case("tensorflow", "nn.silu", [x], {"beta": 2.0}, x * sigmoid(2 * x))
    case("keras_ops", "softplus", [x], {}, np.log1p(np.exp(x)))
    case("keras_ops", "softsign", [x], {}, x / (1 + np.abs(x)))
    gelu = 0.5 * x * (1 + erf(x / np.sqrt(2)))
    tanh_gelu = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 3)))
    case("keras_operation", "Gelu", [x], {}, tanh_gelu.astype(np.float32))
    case("keras_operation", "Gelu", [x], {"approximate": False}, gelu.astype(np.float32))
    case("tensorflow", "nn.gelu", [x], {}, gelu.astype(np.float32))
    case("tensorflow", "keras.activations.gelu", [x], {}, gelu.astype(np.float32))
    case("keras_ops", "hard_sigmoid", [x], {}, np.clip(x / 6 + 0.5, 0, 1))
    case("backend", "hard_sigmoid", [x], {}, np.clip(0.2 * x + 0.5, 0, 1))
    case("keras_ops", "mish", [x], {}, x * np.tanh(np.log1p(np.exp(x))))
    case("keras_ops", "softmax", [x], {}, softmax(x))
    case("keras_ops", "softmax", [x], {"axis": 0}, softmax(x, 0))
    case("keras_ops", "softmax", [x], {"axis": None}, softmax(x.ravel()).reshape(x.shape))
    case("tensorflow", "nn.softmax", [x], {"axis": -1}, softmax(x))
    case("keras_ops", "log_softmax", [x], {}, np.log(softmax(x)))
    case("keras_ops", "glu", [x], {}, x[:, :2] * sigmoid(x[:, 2:]))
    case("keras_ops", "hard_tanh", [x], {}, np.clip(x, -1, 1))
    case("keras_ops", "tanh_shrink", [x], {}, x - np.tanh(x))
    case("keras_ops", "soft_shrink", [x], {}, np.sign(x) * np.maximum(np.abs(x) - 0.5, 0))
    case("keras_ops", "hard_shrink", [x], {}, np.where(np.abs(x) > 0.5, x, 0))
    case("keras_ops", "threshold", [x, 0.3, -1.0], {}, np.where(x > 0.3, x, -1).astype(np.float32))
    case("keras_ops", "squareplus", [x], {}, (x + np.sqrt(x * x + 4)) / 2)
    case("keras_ops", "log_sigmoid", [x], {}, np.log(sigmoid(x)))
    case("tensorflow_node", "LeakyRelu", [x], {"alpha": 0.25, "T": "DT_FLOAT"},
         np.where(x > 0, x, 0.25 * x).astype(np.float32))


def reductions():
    x = noise(2, 3, 4)
    for name in ["sum", "mean", "max", "min", "prod", "var", "std"]:
        function = getattr(np, name)
        case("keras_ops", name, [x], {"axis": 1}, function(x, axis=1))
        case("keras_ops", name, [x], {"axis": [0, -1], "keepdims": True},
             function(x, axis=(0, -1), keepdims=True))
        case("backend", name, [x], {"axis": -1}, function(x, axis=-1))
        case("numpy", name, [x], {}, function(x))
    case("keras_operation", "Mean", [x], {"axis": 1, "keepdims": False}, x.mean(axis=1))
    case("keras_operation", "Any", [x > 1], {"axis": -1, "keepdims": False}, (x > 1).any(axis=-1))
    case("keras_ops", "all", [x > -1], {"axis": 1}, (x > -1).all(axis=1))
    case("tensorflow", "math.reduce_mean", [x], {"axis": [1, 2], "keepdims": True},
         x.mean(axis=(1, 2), keepdims=True))
    case("tensorflow", "math.reduce_sum", [x], {"reduction_indices": 1, "keep_dims": True},
         x.sum(axis=1, keepdims=True))
    case("tensorflow", "math.reduce_max", [x], {}, x.max())
    case("tensorflow", "reduce_sum", [x], {"axis": []}, x)
    case("tensorflow_node", "Mean", [x, [1]], {"keep_dims": True, "Tidx": "DT_INT32"},
         x.mean(axis=1, keepdims=True))
    case("tensorflow", "math.reduce_logsumexp", [x], {"axis": -1},
         np.log(np.exp(x).sum(axis=-1)))
    case("keras_ops", "argmax", [x], {"axis": 1}, x.argmax(axis=1))
    case("keras_ops", "argmin", [x], {}, np.asarray(x.argmin()))
    case("tensorflow", "math.argmax", [x], {"axis": -1}, x.argmax(axis=-1))
    case("tensorflow", "math.argmax", [x], {}, x.argmax(axis=0))
    case("keras_ops", "cumsum", [x], {"axis": 1}, x.cumsum(axis=1))
    case("keras_ops", "cumprod", [x], {}, x.ravel().cumprod())
    case("tensorflow", "math.cumsum", [x], {"axis": 1, "reverse": True},
         x[:, ::-1].cumsum(axis=1)[:, ::-1])
    case("keras_ops", "sort", [x], {"axis": 1}, np.sort(x, axis=1))
    case("keras_ops", "argsort", [x], {}, np.argsort(x, axis=-1))
    case("tensorflow", "sort", [x], {"direction": "DESCENDING"}, -np.sort(-x, axis=-1))
    order = np.argsort(-x, axis=-1)[..., :2]
    case("keras_ops", "top_k", [x, 2], {}, np.take_along_axis(x, order, -1), order)
    case("keras_ops", "median", [x], {"axis": 1}, np.median(x, axis=1))
    case("keras_ops", "quantile", [x, [0.25, 0.6]], {"axis": -1},
         np.quantile(x, [0.25, 0.6], axis=-1).astype(np.float32))
    case("keras_ops", "count_nonzero", [np.round(x)], {"axis": 0},
         np.count_nonzero(np.round(x), axis=0))
    case("keras_ops", "average", [x], {"axis": 1, "weights": np.array([1, 2, 3], np.float32)},
         np.average(x, axis=1, weights=[1, 2, 3]).astype(np.float32))
    case("keras_ops", "norm", [x], {"axis": -1}, np.linalg.norm(x, axis=-1))
    case("keras_ops", "norm", [x], {"ord": 1, "axis": 1}, np.linalg.norm(x, 1, axis=1))
    case("keras_ops", "norm", [x], {"ord": "inf", "axis": 1}, np.abs(x).max(axis=1))
    case("tensorflow", "norm", [x], {"ord": "euclidean"}, np.asarray(np.sqrt((x ** 2).sum())))
    unit = x / np.linalg.norm(x, axis=-1, keepdims=True)
    case("tensorflow", "math.l2_normalize", [x], {"axis": -1}, unit)
    case("backend", "l2_normalize", [x, -1], {}, unit)
    case("keras_ops", "normalize", [x], {}, unit)
    case("tensorflow", "nn.moments", [x], {"axes": [1]}, x.mean(axis=1), x.var(axis=1))
    case("keras_ops", "diff", [x], {"axis": 1}, np.diff(x, axis=1))
    case("keras_ops", "ptp", [x], {"axis": 1}, x.max(axis=1) - x.min(axis=1))
    data, ids = noise(5, 2), np.array([0, 2, 0, 1, 2])
    summed = np.zeros((3, 2), np.float32)
    np.add.at(summed, ids, data)
    case("keras_ops", "segment_sum", [data, ids, 3], {}, summed)
    case("tensorflow", "nn.l2_loss", [x], {}, np.asarray((x ** 2).sum() / 2))


def shapes():
    x = noise(2, 3, 4)
    case("keras_operation", "Reshape", [x], {"newshape": [-1, 6]}, x.reshape(-1, 6))
    case("tensorflow", "reshape", [x], {"shape": [2, 12]}, x.reshape(2, 12))
    case("tensorflow_node", "Reshape", [x, [-1, 6]], {"T": "DT_FLOAT", "Tshape": "DT_INT32"},
         x.reshape(-1, 6))
    case("keras_operation", "Transpose", [x], {"axes": [0, 2, 1]}, x.transpose(0, 2, 1))
    case("tensorflow", "compat.v1.transpose", [x], {"perm": [2, 0, 1]}, x.transpose(2, 0, 1))
    case("backend", "permute_dimensions", [x, [1, 0, 2]], {}, x.transpose(1, 0, 2))
    case("numpy", "transpose", [x], {}, x.T)
    case("keras_ops", "swapaxes", [x, 0, 2], {}, x.swapaxes(0, 2))
    case("keras_ops", "moveaxis", [x, 0, -1], {}, np.moveaxis(x, 0, -1))
    case("keras_ops", "moveaxis", [x, [0, 1], [2, 0]], {}, np.moveaxis(x, [0, 1], [2, 0]))
    case("tensorflow", "expand_dims", [x], {"axis": -1}, x[..., None])
    case("keras_ops", "expand_dims", [x, [0, 2]], {}, np.expand_dims(x, (0, 2)))
    case("backend", "expand_dims", [x], {}, x[..., None])
    case("keras_ops", "squeeze", [x[:, :1], 1], {}, x[:, 0])
    case("tensorflow", "squeeze", [x[:1]], {"axis": [0]}, x[0])
    case("tensorflow", "concat", [[x, x]], {"axis": -1}, np.concatenate([x, x], -1))
    case("backend", "concatenate", [[x, x]], {}, np.concatenate([x, x], -1))
    case("keras_operation", "Concatenate", [[x, x]], {"axis": 1}, np.concatenate([x, x], 1))
    case("tensorflow_node", "ConcatV2", [x, x, 1], {"N": 2}, np.concatenate([x, x], 1))
    case("tensorflow", "stack", [[x, x]], {"axis": 1}, np.stack([x, x], 1))
    case("tensorflow_node", "Pack", [x, x], {"axis": 0, "N": 2}, np.stack([x, x]))
    case("tensorflow", "unstack", [x], {"axis": 1}, x[:, 0], x[:, 1], x[:, 2])
    case("keras_ops", "split", [x, 2], {"axis": 2}, x[..., :2], x[..., 2:])
    case("keras_ops", "split", [x, [1, 3]], {"axis": 2}, x[..., :1], x[..., 1:3], x[..., 3:])
    case("tensorflow", "split", [x], {"num_or_size_splits": [1, 3], "axis": -1}, x[..., :1],
         x[..., 1:])
    case("tensorflow_node", "Split", [2, x], {"num_split": 2}, x[..., :2], x[..., 2:])
    case("keras_ops", "hstack", [[x, x]], {}, np.hstack([x, x]))
    case("keras_ops", "vstack", [[x[0, 0], x[0, 1]]], {}, np.vstack([x[0, 0], x[0, 1]]))
    case("keras_ops", "dstack", [[x[0], x[1]]], {}, np.dstack([x[0], x[1]]))
    case("tensorflow", "tile", [x], {"multiples": [1, 2, 1]}, np.tile(x, [1, 2, 1]))
    case("keras_ops", "repeat", [x, 2], {"axis": 1}, x.repeat(2, axis=1))
    case("keras_ops", "repeat", [x, [1, 0, 2]], {"axis": 1}, x.repeat([1, 0, 2], axis=1))
    case("backend", "repeat_elements", [x, 3], {"axis": 2}, x.repeat(3, axis=2))
    case("backend", "repeat", [x[:, 0], 3], {}, np.repeat(x[:, :1], 3, axis=1))
    case("keras_ops", "roll", [x, 1], {"axis": 1}, np.roll(x, 1, axis=1))
    case("keras_ops", "roll", [x, 5], {}, np.roll(x, 5))
    case("keras_ops", "flip", [x], {"axis": [0, 2]}, np.flip(x, (0, 2)))
    case("backend", "reverse", [x, 1], {}, x[:, ::-1])
    for k in range(4):
        case("keras_ops", "rot90", [x], {"k": k}, np.rot90(x, k))
    case("keras_ops", "rot90", [x], {"k": 1, "axes": [2, 1]}, np.rot90(x, 1, (2, 1)))
    pads = [[0, 0], [1, 2], [0, 1]]
    case("tensorflow", "pad", [x], {"paddings": pads}, np.pad(x, pads))
    case("tensorflow", "pad", [x], {"paddings": pads, "mode": "REFLECT"}, np.pad(x, pads, "reflect"))
    case("keras_ops", "pad", [x, 1], {"mode": "symmetric"}, np.pad(x, 1, "symmetric"))
    case("keras_ops", "pad", [x, pads], {"constant_values": 3.0},
         np.pad(x, pads, constant_values=3))
    case("tensorflow_node", "MirrorPad", [x, pads], {"mode": "SYMMETRIC"}, np.pad(x, pads, "symmetric"))
    case("keras_ops", "broadcast_to", [x[:1], [2, 3, 4]], {}, np.broadcast_to(x[:1], (2, 3, 4)))
    case("keras_ops", "ravel", [x], {}, x.ravel())
    case("backend", "batch_flatten", [x], {}, x.reshape(2, -1))
    case("tensorflow", "shape", [x], {}, np.array([2, 3, 4]))
    case("tensorflow", "rank", [x], {}, np.asarray(3))
    case("tensorflow", "size", [x], {}, np.asarray(24))


def indices():
    x = noise(4, 5, 6)
    full = Slice(None)
    case("keras_operation", "GetItem", [x, [full, Slice(1, 3), Slice(None, None, 2)]], {},
         x[:, 1:3, ::2])
    case("keras_operation", "GetItem", [x, 1], {}, x[1])
    case("keras_operation", "GetItem", [x, [full, -1]], {}, x[:, -1])
    case("tensorflow", "__operators__.getitem", [x], {"slice_spec": [full, 0]}, x[:, 0])
    case("tensorflow", "__operators__.getitem", [x],
         {"slice_spec": [..., Slice(None, None, -1)]}, x[..., ::-1])
    case("tensorflow", "__operators__.getitem", [x], {"slice_spec": [full, None, ..., 2]},
         x[:, None, ..., 2])
    case("tensorflow", "__operators__.getitem", [x], {"slice_spec": Slice(-3, None)}, x[-3:])
    case("keras_ops", "get_item", [x, [full, [0, 3]]], {}, x[:, [0, 3]])
    case("keras_ops", "get_item", [x, [full, np.array([0, 3])]], {}, x[:, [0, 3]])
    case("keras_ops", "get_item", [x, [..., np.array(2)]], {}, x[..., 2])
    case("tensorflow_node", "StridedSlice", [x, [0, 1, 0], [0, 4, 0], [1, 2, 1]],
         {"begin_mask": 5, "end_mask": 5, "ellipsis_mask": 0, "new_axis_mask": 0,
          "shrink_axis_mask": 0}, x[:, 1:4:2, :])
    case("tensorflow_node", "StridedSlice", [x, [0, -1], [0, 0], [1, 1]],
         {"begin_mask": 1, "end_mask": 1, "shrink_axis_mask": 2}, x[:, -1])
    case("tensorflow", "slice", [x], {"begin": [0, 1, 2], "size": [-1, 2, 3]}, x[:, 1:3, 2:5])
    case("keras_ops", "slice", [x, [1, 1, 1], [2, 2, 2]], {}, x[1:3, 1:3, 1:3])
    where = integers(0, 5, 3)
    case("keras_ops", "take", [x, where], {"axis": 1}, x.take(where, axis=1))
    case("keras_ops", "take", [x, where], {}, x.take(where))
    case("tensorflow", "gather", [x], {"indices": where, "axis": 1}, x.take(where, axis=1))
    rows = integers(0, 4, 2, 2)
    case("backend", "gather", [x, rows], {}, x[rows])
    case("tensorflow", "nn.embedding_lookup", [x[:, 0]], {"ids": rows}, x[:, 0][rows])
    batch = integers(0, 5, 4, 2)
    case("tensorflow", "gather", [x], {"indices": batch, "batch_dims": 1},
         np.stack([x[i][batch[i]] for i in range(4)]))
    pairs = np.stack([integers(0, 4, 3), integers(0, 5, 3)], -1)
    case("tensorflow", "gather_nd", [x], {"indices": pairs}, x[pairs[:, 0], pairs[:, 1]])
    along = integers(0, 5, 4, 2, 6)
    case("keras_ops", "take_along_axis", [x, along], {"axis": 1}, np.take_along_axis(x, along, 1))
    ids = np.array([0, 2, 1])
    case("keras_ops", "one_hot", [ids, 3], {}, np.eye(3, dtype=np.float32)[ids])
    case("tensorflow", "one_hot", [ids], {"depth": 3, "on_value": 2.0, "off_value": -1.0},
         np.eye(3, dtype=np.float32)[ids] * 3 - 1)
    case("tensorflow_node", "OneHot", [ids, 3, 1.0, 0.0], {"axis": 0}, np.eye(3, dtype=np.float32)[ids].T)
    case("tensorflow", "sequence_mask", [ids], {"maxlen": 3}, np.arange(3) < ids[:, None])
    case("keras_ops", "searchsorted", [[0.0, 1.0, 1.0, 2.0], np.array([1, 0.5], np.float32)], {},
         np.searchsorted([0, 1, 1, 2], [1, 0.5]))
    case("keras_ops", "searchsorted", [[0.0, 1.0, 1.0, 2.0], np.array([1, 0.5], np.float32)],
         {"side": "right"}, np.searchsorted([0, 1, 1, 2], [1, 0.5], side="right"))
    case("keras_ops", "tril", [x], {"k": 1}, np.tril(x, 1))
    case("keras_ops", "triu", [x], {}, np.triu(x))
    case("keras_ops", "diag", [x[0, 0]], {"k": -1}, np.diag(x[0, 0], -1))
    case("keras_ops", "diag", [x[0]], {"k": 1}, np.diag(x[0], 1))
    case("keras_ops", "diagonal", [x], {"offset": 1, "axis1": 2, "axis2": 0},
         np.diagonal(x, 1, 2, 0))
    case("keras_ops", "trace", [x], {}, np.trace(x))
    case("tensorflow", "linalg.diag", [x[:, 0]], {}, np.stack([np.diag(row) for row in x[:, 0]]))
    case("tensorflow", "linalg.band_part", [x], {"num_lower": 1, "num_upper": 0},
         np.tril(np.triu(x, -1), 0))


def creation():
    x = noise(2, 3)
    case("keras_ops", "zeros", [[2, 3]], {}, np.zeros((2, 3), np.float32))
    case("keras_ops", "full", [[2], 4], {}, np.full(2, 4))
    case("tensorflow", "fill", [[2, 2]], {"value": 1.5}, np.full((2, 2), 1.5, np.float32))
    case("tensorflow", "ones_like", [x], {}, np.ones_like(x))
    case("tensorflow", "zeros_like", [x], {"dtype": "int32"}, np.zeros((2, 3), np.int64))
    case("keras_ops", "full_like", [x, 2.0], {}, np.full_like(x, 2))
    case("keras_ops", "arange", [5], {}, np.arange(5))
    case("tensorflow", "range", [1], {"limit": 10, "delta": 3}, np.arange(1, 10, 3))
    case("keras_ops", "arange", [0, 1, 0.25], {}, np.arange(0, 1, 0.25).astype(np.float32))
    case("keras_ops", "eye", [3, 4], {"k": 1}, np.eye(3, 4, 1, dtype=np.float32))
    case("keras_ops", "tri", [3], {"k": -1}, np.tri(3, k=-1, dtype=np.float32))
    case("keras_ops", "linspace", [0, 1, 5], {}, np.linspace(0, 1, 5).astype(np.float32))
    case("keras_ops", "linspace", [0, 1, 4], {"endpoint": False},
         np.linspace(0, 1, 4, endpoint=False).astype(np.float32))
    a, b = noise(2), noise(3)
    case("keras_ops", "meshgrid", [a, b], {}, *np.meshgrid(a, b))
    case("tensorflow", "meshgrid", [a, b], {"indexing": "ij"}, *np.meshgrid(a, b, indexing="ij"))
    case("tensorflow", "constant", [[[1, 2], [3, 4]]], {"dtype": "float32"},
         np.array([[1, 2], [3, 4]], np.float32))


def products():
    a, b, c = noise(2, 3, 4), noise(2, 4, 5), noise(4, 5)
    case("keras_ops", "matmul", [a, b], {}, a @ b)
    case("keras_ops", "matmul", [a, c[:, 0]], {}, a @ c[:, 0])
    case("keras_ops", "matmul", [c[:, 0], c], {}, c[:, 0] @ c)
    case("tensorflow", "linalg.matmul", [a], {"b": b.transpose(0, 2, 1), "transpose_b": True}, a @ b)
    case("tensorflow_node", "BatchMatMulV2", [a.transpose(0, 2, 1), b], {"adj_x": True, "adj_y": False},
         a @ b)
    case("backend", "dot", [a, c], {}, a @ c)
    case("keras_ops", "dot", [a, b], {}, np.dot(a, b))
    v, w = noise(3), noise(4)
    case("keras_ops", "outer", [v, w], {}, np.outer(v, w))
    case("keras_ops", "inner", [a, w], {}, np.inner(a, w))
    case("keras_ops", "cross", [noise_fixed(1), noise_fixed(2)], {},
         np.cross(noise_fixed(1), noise_fixed(2)))
    case("keras_ops", "kron", [c[:2, :2], c[2:, 1:]], {}, np.kron(c[:2, :2], c[2:, 1:]))
    case("keras_ops", "tensordot", [a, c], {"axes": 1}, np.tensordot(a, c, 1))
    case("keras_ops", "tensordot", [a, b], {"axes": [[0, 2], [0, 1]]},
         np.tensordot(a, b, [[0, 2], [0, 1]]))
    case("backend", "batch_dot", [a, b], {}, a @ b)
    case("backend", "batch_dot", [a, a], {"axes": [2, 2]}, a @ a.transpose(0, 2, 1))
    case("backend", "batch_dot", [a[:, 0], a[:, 1]], {}, (a[:, 0] * a[:, 1]).sum(1, keepdims=True))
    case("keras_ops", "einsum", ["bij,bjk->bik", a, b], {}, np.einsum("bij,bjk->bik", a, b))
    case("keras_operation", "Einsum", [a, b], {"subscripts": "bij,bjk->kb"},
         np.einsum("bij,bjk->kb", a, b))
    case("keras_ops", "einsum", ["bij,bjk,k->bi", a, b, noise_five()], {},
         np.einsum("bij,bjk,k->bi", a, b, noise_five()))


def noise_fixed(seed):
    return np.random.RandomState(seed).uniform(-1, 1, (2, 3)).astype(np.float32)


def noise_five():
    return np.linspace(-1, 1, 5).astype(np.float32)


def convolve(x, kernel, strides=(1, 1), dilations=(1, 1)):
    kh, kw, _, out = kernel.shape
    height = (x.shape[1] - (kh - 1) * dilations[0] - 1) // strides[0] + 1
    width = (x.shape[2] - (kw - 1) * dilations[1] - 1) // strides[1] + 1
    y = np.zeros((x.shape[0], height, width, out), np.float64)
    for i in range(height):
        for j in range(width):
            for m in range(kh):
                for n in range(kw):
                    y[:, i, j] += x[:, i * strides[0] + m * dilations[0],
                                    j * strides[1] + n * dilations[1]] @ kernel[m, n]
    return y.astype(np.float32)


def networks():
    x, kernel = noise(1, 6, 7, 2), noise(3, 3, 2, 4)
    case("keras_ops", "conv", [x, kernel], {}, convolve(x, kernel))
    case("keras_ops", "conv", [x, kernel], {"strides": 2, "padding": "valid"},
         convolve(x, kernel, (2, 2)))
    padded = np.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
    case("tensorflow", "nn.conv2d", [x], {"filters": kernel, "strides": [1, 1, 1, 1],
                                          "padding": "SAME"}, convolve(padded, kernel))
    case("tensorflow", "nn.conv2d", [x],
         {"filters": kernel, "strides": 1, "padding": [[0, 0], [1, 1], [1, 1], [0, 0]]},
         convolve(padded, kernel))
    case("backend", "conv2d", [x, kernel], {"dilation_rate": [2, 2]},
         convolve(x, kernel, dilations=(2, 2)))
    first = x.transpose(0, 3, 1, 2)
    case("keras_ops", "conv", [first, kernel], {"data_format": "channels_first"},
         convolve(x, kernel).transpose(0, 3, 1, 2))
    pooled = x[:, :6, :6].reshape(1, 3, 2, 3, 2, 2)
    case("keras_ops", "max_pool", [x, 2], {}, pooled.max(axis=(2, 4)))
    case("tensorflow", "nn.avg_pool2d", [x], {"ksize": 2, "strides": 2, "padding": "VALID"},
         pooled.mean(axis=(2, 4)))
    case("tensorflow_node", "MaxPool", [x], {"ksize": [1, 2, 2, 1], "strides": [1, 2, 2, 1],
                                             "padding": "VALID", "data_format": "NHWC"},
         pooled.max(axis=(2, 4)))
    case("backend", "pool2d", [x, [2, 2]], {"strides": [2, 2], "pool_mode": "avg"},
         pooled.mean(axis=(2, 4)))
    mean, var, scale, offset = noise(2), positive(2), noise(2), noise(2)
    normal = (x - mean) / np.sqrt(var + 1e-3) * scale + offset
    case("tensorflow", "nn.batch_normalization", [x],
         {"mean": mean, "variance": var, "offset": offset, "scale": scale,
          "variance_epsilon": 1e-3}, normal)
    case("backend", "batch_normalization", [x, mean, var, offset, scale], {"epsilon": 1e-3}, normal)
    case("keras_ops", "batch_normalization", [first, mean, var, 1], {"epsilon": 1e-3},
         ((x - mean) / np.sqrt(var + 1e-3)).transpose(0, 3, 1, 2))
    case("tensorflow_node", "FusedBatchNormV3", [x, scale, offset, mean, var],
         {"is_training": False, "epsilon": 1e-3, "data_format": "NHWC"}, normal, mean, var)
    gamma, beta = noise(7, 2), noise(7, 2)
    m, v = x.mean(axis=(2, 3), keepdims=True), x.var(axis=(2, 3), keepdims=True)
    case("keras_ops", "layer_normalization", [x, gamma, beta], {"axis": [-2, -1], "epsilon": 1e-3},
         (x - m) / np.sqrt(v + 1e-3) * gamma + beta)
    rms = x / np.sqrt((x ** 2).mean(axis=-1, keepdims=True) + 1e-6)
    case("keras_ops", "rms_normalization", [x, scale], {"epsilon": 1e-6}, rms * scale)
    y = noise(1, 2, 2, 5)
    squares = np.stack([(y[..., max(0, i - 1):i + 2] ** 2).sum(-1) for i in range(5)], -1)
    case("tensorflow", "nn.local_response_normalization", [y],
         {"depth_radius": 1, "bias": 1.0, "alpha": 0.5, "beta": 0.75}, y / (1 + 0.5 * squares) ** 0.75)
    q, k, val = noise(2, 3, 2, 4), noise(2, 5, 2, 4), noise(2, 5, 2, 4)
    scores = np.einsum("btnh,bsnh->bnts", q, k) / 2
    case("keras_ops", "dot_product_attention", [q, k, val], {},
         np.einsum("bnts,bsnh->btnh", softmax(scores), val))


def images():
    x = noise(2, 4, 6, 3)
    case("keras_ops", "image.resize", [x, [8, 12]], {"interpolation": "nearest"},
         x.repeat(2, axis=1).repeat(2, axis=2))
    case("tensorflow", "image.resize", [x], {"size": [2, 3], "method": "nearest"}, x[:, 1::2, 1::2])
    case("backend", "resize_images", [x, 2, 2, "channels_last"], {},
         x.repeat(2, axis=1).repeat(2, axis=2))
    case("keras_ops", "rgb_to_grayscale", [x], {},
         (x * np.array([0.2989, 0.587, 0.114], np.float32)).sum(-1, keepdims=True))
    case("tensorflow", "image.crop_to_bounding_box", [x],
         {"offset_height": 1, "offset_width": 2, "target_height": 2, "target_width": 3},
         x[:, 1:3, 2:5])
    case("tensorflow", "image.pad_to_bounding_box", [x],
         {"offset_height": 1, "offset_width": 2, "target_height": 6, "target_width": 9},
         np.pad(x, [[0, 0], [1, 1], [2, 1], [0, 0]]))
    case("backend", "spatial_2d_padding", [x, [[1, 0], [0, 2]]], {},
         np.pad(x, [[0, 0], [1, 0], [0, 2], [0, 0]]))
    case("backend", "temporal_padding", [x[..., 0], [1, 2]], {},
         np.pad(x[..., 0], [[0, 0], [1, 2], [0, 0]]))
    case("tensorflow", "image.flip_left_right", [x], {}, x[:, :, ::-1])
    case("tensorflow", "image.central_crop", [x], {"central_fraction": 0.5}, x[:, 1:3, 1:5])
    flat = x.reshape(2, -1)
    spread = np.maximum(flat.std(1), 1 / np.sqrt(72)).reshape(2, 1, 1, 1)
    case("tensorflow", "image.per_image_standardization", [x], {},
         (x - flat.mean(1).reshape(2, 1, 1, 1)) / spread)
    blocks = noise(1, 2, 2, 8)
    spread_out = blocks.reshape(1, 2, 2, 2, 2, 2).transpose(0, 1, 3, 2, 4, 5).reshape(1, 4, 4, 2)
    case("tensorflow", "nn.depth_to_space", [blocks], {"block_size": 2}, spread_out)
    case("tensorflow", "nn.space_to_depth", [spread_out], {"block_size": 2}, blocks)
    patches = np.stack([x[:, i:i + 2, j:j + 2].reshape(2, -1) for i in (0, 2) for j in (0, 2, 4)], 1)
    case("keras_ops", "extract_patches", [x, 2], {}, patches.reshape(2, 2, 3, 12))


for group in (elementwise, activations, reductions, shapes, indices, creation, products, networks,
              images):
    group()
write(pathlib.Path(__file__).with_name("function_cases.json"))
