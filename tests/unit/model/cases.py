"""How a call of a function and its expected outputs are written down."""
import json

import numpy as np

CASES = []
RNG = np.random.RandomState(7)


def short(values):
    """Seven digits are what float32 holds."""
    if isinstance(values, list):
        return [short(value) for value in values]
    return float(f"{values:.7g}") if isinstance(values, float) else values


class Slice:
    def __init__(self, *args):
        self.slice = slice(*args)


def encode(value):
    if isinstance(value, np.ndarray):
        kind = {"f": "float", "i": "int", "b": "bool", "U": "text"}[value.dtype.kind]
        return {kind: short(value.tolist())}
    if isinstance(value, Slice):
        return {"slice": [value.slice.start, value.slice.stop, value.slice.step]}
    if value is Ellipsis:
        return {"ellipsis": True}
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    return value


def case(namespace, symbol, args, kwargs, *expected):
    outputs = []
    for array in expected:
        array = np.asarray(array)
        outputs.append({"shape": list(array.shape),
                        "kind": {"f": "float", "i": "int", "b": "bool"}[array.dtype.kind],
                        "values": short(array.astype(np.float64).ravel().tolist())})
    CASES.append({"namespace": namespace, "symbol": symbol, "args": [encode(a) for a in args],
                  "kwargs": {k: encode(v) for k, v in kwargs.items()}, "outputs": outputs})


def noise(*shape):
    return RNG.uniform(-2, 2, shape).astype(np.float32)


def positive(*shape):
    return RNG.uniform(0.5, 2, shape).astype(np.float32)


def integers(low, high, *shape):
    return RNG.randint(low, high, shape).astype(np.int64)


def write(path):
    lines = ",\n".join(json.dumps(c) for c in CASES)
    path.write_text("[\n" + lines + "\n]\n")
    print(len(CASES), "cases")
