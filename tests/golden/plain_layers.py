"""Keras layers in plain NumPy, in float64: what written cases expect.

Written from the definitions, not from the server: sums over all kernel positions,
loops over time. Arrays are (batch, space…, channels) unless said otherwise.
"""
import itertools
import math

import numpy as np


# --- functions of elements ---

def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


ACTIVATIONS = {
    'linear': lambda x: x,
    'relu': lambda x: np.maximum(x, 0),
    'relu6': lambda x: np.clip(x, 0, 6),
    'tanh': np.tanh,
    'sigmoid': sigmoid,
    'hard_sigmoid': lambda x: np.clip(0.2 * x + 0.5, 0, 1),   # before Keras 3
    'elu': lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    'softplus': lambda x: np.logaddexp(x, 0),
    'softsign': lambda x: x / (1 + np.abs(x)),
    'softmax': softmax,
    'swish': lambda x: x * sigmoid(x),
    'exponential': np.exp,
}


def act(name):
    return ACTIVATIONS[name or 'linear']


# --- convolution and pooling ---

def pads(size, window, stride, padding):
    """(before, after, outputs) of TensorFlow's rule; `window` with its dilation."""
    if padding == 'valid':
        return 0, 0, (size - window) // stride + 1
    if padding == 'causal':
        return window - 1, 0, (size - 1) // stride + 1
    count = -(-size // stride)
    total = max((count - 1) * stride + window - size, 0)
    return total // 2, total - total // 2, count


def windows(x, kernel, strides, dilation, padding, fill=0.0):
    """Of each kernel position the cells under it: yields (position, cells)."""
    widths, counts = [(0, 0)], []
    for size, k, s, d in zip(x.shape[1:-1], kernel, strides, dilation):
        before, after, count = pads(size, (k - 1) * d + 1, s, padding)
        widths.append((before, after))
        counts.append(count)
    x = np.pad(x, widths + [(0, 0)], constant_values=fill)
    for position in itertools.product(*map(range, kernel)):
        cut = tuple(slice(p * d, p * d + (n - 1) * s + 1, s)
                    for p, d, n, s in zip(position, dilation, counts, strides))
        yield position, x[(slice(None),) + cut]


def conv(x, kernel, bias=None, strides=None, padding='valid', dilation=None, groups=1):
    rank = x.ndim - 2
    strides, dilation = strides or [1] * rank, dilation or [1] * rank
    x, kernel = x.astype('f8'), kernel.astype('f8')
    outputs = []
    for cells, weights in zip(np.split(x, groups, -1), np.split(kernel, groups, -1)):
        outputs.append(sum(part @ weights[at] for at, part in windows(
            cells, kernel.shape[:rank], strides, dilation, padding)))
    y = np.concatenate(outputs, -1)
    return y if bias is None else y + bias


def depthwise(x, kernel, bias=None, strides=None, padding='valid', dilation=None):
    rank = x.ndim - 2
    strides, dilation = strides or [1] * rank, dilation or [1] * rank
    y = sum(part[..., None] * kernel[at].astype('f8') for at, part in windows(
        x.astype('f8'), kernel.shape[:rank], strides, dilation, padding))
    y = y.reshape(y.shape[:-2] + (-1,))
    return y if bias is None else y + bias


def conv_transpose(x, kernel, bias, strides, padding, output_padding=None, dilation=None):
    """Kernel (space…, filters, channels): each cell adds its multiple of the kernel."""
    rank = x.ndim - 2
    dilation = dilation or [1] * rank
    full, begin, size = [], [], []
    for i, (n, s, k0, d) in enumerate(zip(x.shape[1:-1], strides, kernel.shape, dilation)):
        k = (k0 - 1) * d + 1
        full.append((n - 1) * s + k)
        if output_padding is None:
            length = n * s if padding == 'same' else n * s + max(k - s, 0)
            before = max(k - s, 0) // 2 if padding == 'same' else 0
        else:
            pad = k // 2 if padding == 'same' else 0
            length = (n - 1) * s + k - 2 * pad + output_padding[i]
            # The forward convolution from `length` to n decides where the padding goes.
            before = max((n - 1) * s + k - length, 0) // 2 if padding == 'same' else 0
        begin.append(before)
        size.append(length)
    room = [max(f, b + s) for f, b, s in zip(full, begin, size)]
    y = np.zeros([x.shape[0]] + room + [kernel.shape[-2]])
    for at in itertools.product(*map(range, kernel.shape[:rank])):
        cut = tuple(slice(p * d, p * d + (n - 1) * s + 1, s)
                    for p, d, n, s in zip(at, dilation, x.shape[1:-1], strides))
        y[(slice(None),) + cut] += x.astype('f8') @ kernel[at].T.astype('f8')
    y = y[(slice(None),) + tuple(slice(b, b + s) for b, s in zip(begin, size))]
    return y if bias is None else y + bias


def pool(x, size, strides, padding, average):
    ones = [1] * len(size)
    if not average:
        parts = [part for _, part in windows(x, size, strides, ones, padding, -np.inf)]
        return np.max(parts, axis=0)
    total = sum(part for _, part in windows(x.astype('f8'), size, strides, ones, padding))
    count = sum(part for _, part in windows(np.ones(x.shape), size, strides, ones, padding))
    return total / count


def first(x):
    """(batch, space…, channels) to (batch, channels, space…)."""
    return np.moveaxis(x, -1, 1)


def last(x):
    return np.moveaxis(x, 1, -1)


# --- normalization ---

def batch_norm(x, gamma, beta, mean, variance, epsilon, axis=-1):
    shape = [1] * x.ndim
    shape[axis] = -1
    fit = [np.asarray(a, 'f8').reshape(shape) for a in (gamma, beta, mean, variance)]
    return (x - fit[2]) / np.sqrt(fit[3] + epsilon) * fit[0] + fit[1]


def layer_norm(x, gamma, beta, epsilon=1e-3, axes=(-1,)):
    mean = x.mean(axis=axes, keepdims=True)
    variance = x.var(axis=axes, keepdims=True)
    return (x - mean) / np.sqrt(variance + epsilon) * gamma + beta


# --- recurrent ---

def steps(x, mask, states, step, backwards=False, zero_output=False):
    """Runs step(x_t, states) -> (y, states) over time; a masked step keeps all."""
    order = range(x.shape[1])[::-1] if backwards else range(x.shape[1])
    outputs, before = [], None
    for t in order:
        y, new = step(x[:, t], states)
        before = np.zeros_like(y) if before is None else before
        if mask is not None:
            keep = mask[:, t].astype(bool).reshape((-1,) + (1,) * (y.ndim - 1))
            shown = np.where(keep, y, 0 if zero_output else before)
            y = np.where(keep, y, before)
            new = [np.where(keep, a, b) for a, b in zip(new, states)]
        else:
            shown = y
        before, states = y, new
        outputs.append(shown)
    return np.stack(outputs, 1), before, states


def lstm_step(kernel, recurrent, bias, activation='tanh', gate='sigmoid'):
    def step(x, states):
        h, c = states
        i, f, g, o = np.split(x @ kernel + h @ recurrent + bias, 4, -1)
        c = act(gate)(f) * c + act(gate)(i) * act(activation)(g)
        h = act(gate)(o) * act(activation)(c)
        return h, [h, c]
    return step


def gru_step(kernel, recurrent, bias, activation='tanh', gate='sigmoid', reset_after=False):
    inner, outer = (bias[0], bias[1]) if reset_after else (bias, np.zeros_like(bias))

    def step(x, states):
        h = states[0]
        xz, xr, xh = np.split(x @ kernel + inner, 3, -1)
        rz, rr, rh = np.split(h @ recurrent + outer, 3, -1)
        z, r = act(gate)(xz + rz), act(gate)(xr + rr)
        if not reset_after:
            rh = (r * h) @ np.split(recurrent, 3, -1)[2]
            new = act(activation)(xh + rh)
        else:
            new = act(activation)(xh + r * rh)
        h = z * h + (1 - z) * new
        return h, [h]
    return step


def simple_step(kernel, recurrent, bias, activation='tanh'):
    def step(x, states):
        h = act(activation)(x @ kernel + states[0] @ recurrent + bias)
        return h, [h]
    return step


def zeros(x, units, count):
    return [np.zeros((x.shape[0], units)) for _ in range(count)]


# --- attention ---

def multi_head(query, value, key, weights, mask=None, causal=False):
    """weights: kernel and bias of query, key, value and output."""
    wq, bq, wk, bk, wv, bv, wo, bo = [np.asarray(w, 'f8') for w in weights]
    q = np.einsum('btd,dhk->bhtk', query, wq) + bq[None, :, None]
    k = np.einsum('btd,dhk->bhtk', key, wk) + bk[None, :, None]
    v = np.einsum('btd,dhk->bhtk', value, wv) + bv[None, :, None]
    scores = q @ k.transpose(0, 1, 3, 2) / math.sqrt(wq.shape[-1])
    keep = np.ones(scores.shape, bool)
    if mask is not None:
        keep &= mask.astype(bool)[:, None]
    if causal:
        keep &= np.tril(np.ones(scores.shape[-2:], bool))
    # In float32 a score less 1e9 is -1e9 for every score: masked rows attend evenly.
    scores = np.where(keep, scores, -1e9)
    return np.einsum('bhts,bhsk,hkd->btd', softmax(scores), v, wo) + bo
