"""What people write into Lambda layers, and what it computes, in NumPy.

Each case: `source`, a lambda or the definition of a function f; `inputs`, the
shapes without the batch (('int', high, …): integers below high); `numpy`, of the
arrays. Optional: `versions` of Python that have the syntax, `eras` of Keras that
had the functions, `arguments` of the layer, `open` (all dimensions are open),
`all` (in every version).
"""
import numpy as np

PY3 = ['3.4', '3.5', '3.6', '3.7', '3.8', '3.9', '3.10', '3.11', '3.12', '3.13']
PY36 = PY3[2:]
TF1 = ['k1', 'k2raw', 'k2']
TF2 = ['tfk', 'k3']
OLD = ['k1', 'k2raw', 'k2', 'tfk']
EPS = 1e-7

CASES = []


def case(name, source, inputs, numpy, **more):
    CASES.append(dict(name=name, source=source, inputs=inputs, numpy=numpy, **more))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def normal(x, axis, eps=1e-12):
    return x / np.sqrt(np.maximum((x * x).sum(axis, keepdims=True), eps))


V, S, I = (5,), (6, 4), (4, 6, 3)  # a vector, a sequence, an image

# --- arithmetic ------------------------------------------------------------------
case('scale', 'lambda x: x / 127.5 - 1.', [I], lambda x: x / 127.5 - 1, all=True)
case('scale255', 'lambda x: x / 255.0', [I], lambda x: x / 255)
case('wholescale', 'lambda x: x / 255', [I], lambda x: x / 255)
case('affine', 'lambda x: 2 * (x + 1) - x * 3 / 4', [V], lambda x: 2 * (x + 1) - x * 3 / 4, all=True)
case('negate', 'lambda x: -x + abs(x)', [V], lambda x: -x + abs(x))
case('oneminus', 'lambda x: 1 - x', [V], lambda x: 1 - x)
case('reciprocal', 'lambda x: 1. / (2. + x)', [V], lambda x: 1 / (2 + x))
case('power', 'lambda x: x ** 2 + 2 ** x', [V], lambda x: x ** 2 + 2 ** x)
case('floormod', 'lambda x: (x * 7) // 2 + (x * 7) % 2', [V],
     lambda x: (x * 7) // 2 + (x * 7) % 2)
case('matmul', 'lambda x: x[0] @ x[1]', [(4, 5), (5, 2)], lambda x: x[0] @ x[1], versions=PY36)
case('constants', 'lambda x: x * (3 * 4 - 10) + 7 // 2 - 2 ** 3', [V], lambda x: x * 2 + 3 - 8)
case('compare', "lambda x: K.cast(x > 0, 'float32') * x", [V], lambda x: (x > 0) * x)
case('comparechain', "lambda x: K.cast(K.greater_equal(x, 0.1), K.floatx()) - K.cast(K.less(x, -.1), 'float32')",
     [V], lambda x: (x >= .1) * 1. - (x < -.1))
case('logic', "lambda x: tf.cast((x > -0.5) & (x < 0.5), tf.float32)", [V],
     lambda x: ((x > -.5) & (x < .5)) * 1., eras=TF2)
case('invert', "lambda x: tf.cast(~(x > 0), tf.float32)", [V], lambda x: (x <= 0) * 1., eras=TF2)

# --- two and more inputs -----------------------------------------------------------
case('product', 'lambda x: x[0] * x[1]', [V, V], lambda x: x[0] * x[1], all=True)
case('absdiff', 'lambda tensors: K.abs(tensors[0] - tensors[1])', [V, V], lambda x: abs(x[0] - x[1]))
case('euclid', '''
def f(vects):
    x, y = vects
    sum_square = K.sum(K.square(x - y), axis=1, keepdims=True)
    return K.sqrt(K.maximum(sum_square, K.epsilon()))
''', [V, V], lambda v: np.sqrt(np.maximum(((v[0] - v[1]) ** 2).sum(1, keepdims=True), EPS)), all=True)
case('manhattan', 'lambda x: K.exp(-K.sum(K.abs(x[0]-x[1]), axis=1, keepdims=True))', [V, V],
     lambda x: np.exp(-abs(x[0] - x[1]).sum(1, keepdims=True)))
case('cosine', '''
def f(inputs):
    a, b = inputs
    a = K.l2_normalize(a, axis=-1)
    b = K.l2_normalize(b, axis=-1)
    return K.sum(a * b, axis=-1, keepdims=True)
''', [V, V], lambda v: (normal(v[0], -1) * normal(v[1], -1)).sum(-1, keepdims=True))
case('dueling', 'lambda a: K.expand_dims(a[:, 0], axis=-1) + a[:, 1:] - K.mean(a[:, 1:], axis=1, keepdims=True)',
     [V], lambda a: a[:, :1] + a[:, 1:] - a[:, 1:].mean(1, keepdims=True))
case('batchdot', 'lambda x: K.batch_dot(x[0], x[1], axes=[2, 2])', [(3, 4), (5, 4)],
     lambda x: np.einsum('bij,bkj->bik', x[0], x[1]))
case('batchdot2', 'lambda x: K.batch_dot(x[0], x[1], axes=1)', [V, V],
     lambda x: (x[0] * x[1]).sum(1, keepdims=True))
case('triplet', 'lambda x: K.concatenate([x[0] - x[1], x[0] - x[2]], axis=-1)', [V, V, V],
     lambda x: np.concatenate([x[0] - x[1], x[0] - x[2]], -1))
case('attend', "lambda x: tf.matmul(x[0], x[1], transpose_b=True) / np.sqrt(4)", [(3, 4), (5, 4)],
     lambda x: x[0] @ x[1].transpose(0, 2, 1) / 2)
case('weighted', 'lambda t: K.sum(t[0] * K.expand_dims(t[1]), axis=1)', [S, (6,)],
     lambda t: (t[0] * t[1][..., None]).sum(1))
case('star', 'lambda x: K.concatenate([*x, *x])', [V, V], lambda x: np.concatenate([x[0], x[1], x[0], x[1]], -1),
     versions=PY36)
case('unpackrest', '''
def f(x):
    first, *rest = x
    for r in rest:
        first = first + r
    return first
''', [V, V, V], lambda x: x[0] + x[1] + x[2], versions=PY36)

# --- slices ------------------------------------------------------------------------
case('last', 'lambda x: x[:, -1, :]', [S], lambda x: x[:, -1], all=True)
case('first', 'lambda x: x[:, 0]', [S], lambda x: x[:, 0])
case('channels', 'lambda t: t[..., :2]', [I], lambda x: x[..., :2])
case('swaprgb', 'lambda x: x[:, :, :, ::-1]', [I], lambda x: x[..., ::-1])
case('reverse', 'lambda x: x[:, ::-1]', [S], lambda x: x[:, ::-1], all=True)
case('stride', 'lambda x: x[:, 1::2, ::3]', [S], lambda x: x[:, 1::2, ::3])
case('back', 'lambda x: x[:, -2:0:-1]', [S], lambda x: x[:, -2:0:-1])
case('newaxis', 'lambda x: x[:, None, :, tf.newaxis]', [V], lambda x: x[:, None, :, None])
case('crop', 'lambda x: x[:, 1:-1, 1:-1, :]', [I], lambda x: x[:, 1:-1, 1:-1])
case('shiftdiff', 'lambda x: x[:, 1:] - x[:, :-1]', [S], lambda x: x[:, 1:] - x[:, :-1])
case('half', 'lambda x: x[:, :int(x.shape[1]) // 2]', [S], lambda x: x[:, :3])
case('bounds', '''
def f(x, start, end):
    return x[:, start:end]
''', [S], lambda x: x[:, 1:4], arguments={'start': 1, 'end': 4})
case('slices', 'lambda x: K.concatenate([x[:, i:i + 2] for i in range(0, 4, 2)][::-1], axis=1)', [V],
     lambda x: np.concatenate([x[:, 2:4], x[:, :2]], 1))
case('gatherlist', 'lambda x: tf.gather(x, [2, 0, 1], axis=-1)', [I], lambda x: x[..., [2, 0, 1]])
case('kslice', 'lambda x: K.slice(x, [0, 1, 1], [-1, 3, 2])', [S], lambda x: x[:, 1:4, 1:3],
     eras=['k2', 'tfk'])
case('tfslice', 'lambda x: tf.slice(x, [0, 1, 0], [-1, 2, -1])', [S], lambda x: x[:, 1:3])
case('stridedslice', 'lambda x: tf.strided_slice(x, [0, 0, 0], [3, 6, 4], [1, 2, 1])', [S],
     lambda x: x[:, ::2])

# --- reductions ----------------------------------------------------------------------
case('kmean', 'lambda x: K.mean(x, axis=1)', [S], lambda x: x.mean(1), all=True)
case('kmean12', 'lambda x: K.mean(x, axis=[1, 2])', [I], lambda x: x.mean((1, 2)))
case('kmax', 'lambda x: K.max(x, axis=1, keepdims=False) - K.min(x, axis=1)', [S], lambda x: x.max(1) - x.min(1))
case('ksum', 'lambda x: K.sum(x, axis=-1, keepdims=True)', [S], lambda x: x.sum(-1, keepdims=True))
case('kstd', 'lambda x: (x - K.mean(x, axis=-1, keepdims=True)) / (K.std(x, axis=-1, keepdims=True) + 1e-3)', [S],
     lambda x: (x - x.mean(-1, keepdims=True)) / (x.std(-1, keepdims=True) + 1e-3))
case('kprod', 'lambda x: K.prod(x, axis=1) + K.var(x, axis=1)', [S], lambda x: x.prod(1) + x.var(1))
case('tfreduce', 'lambda x: tf.reduce_sum(x, axis=1) + tf.reduce_max(x, 1) * tf.reduce_mean(x, [1])', [S],
     lambda x: x.sum(1) + x.max(1) * x.mean(1))
case('keepdims1', 'lambda x: tf.reduce_mean(x, reduction_indices=[1], keep_dims=True)', [S],
     lambda x: x.mean(1, keepdims=True), eras=TF1)
case('argmax', "lambda x: K.cast(K.argmax(x, axis=-1), 'float32')", [S], lambda x: x.argmax(-1).astype('float32'))
case('logsumexp', 'lambda x: tf.reduce_logsumexp(x, axis=-1)', [S], lambda x: np.log(np.exp(x).sum(-1)))
case('norm', 'lambda x: tf.norm(x, axis=-1)', [S], lambda x: np.sqrt((x * x).sum(-1)))
case('capsule', '''
def f(x):
    return K.sqrt(K.sum(K.square(x), -1))
''', [S], lambda x: np.sqrt((x * x).sum(-1)))
case('squash', '''
def f(vectors, axis=-1):
    s_squared_norm = K.sum(K.square(vectors), axis, keepdims=True)
    scale = s_squared_norm / (1 + s_squared_norm) / K.sqrt(s_squared_norm + K.epsilon())
    return scale * vectors
''', [S], lambda x: (lambda n: n / (1 + n) / np.sqrt(n + EPS) * x)((x * x).sum(-1, keepdims=True)))
case('gempool', '''
def f(x, p=3.):
    return K.pow(K.mean(K.pow(K.clip(x, 1e-6, 10.), p), axis=[1, 2]), 1. / p)
''', [I], lambda x: (np.clip(x, 1e-6, 10) ** 3).mean((1, 2)) ** (1 / 3))
case('topk', 'lambda x: tf.nn.top_k(x, k=2)[0]', [V], lambda x: -np.sort(-x, -1)[:, :2])
case('cumsum', 'lambda x: tf.cumsum(x, axis=1)', [S], lambda x: x.cumsum(1))
case('amax', 'lambda x: K.max(x, 1) if True else x', [S], lambda x: x.max(1))

# --- activations -----------------------------------------------------------------------
case('relu6', 'lambda x: K.relu(x * 10, max_value=6)', [V], lambda x: np.clip(x * 10, 0, 6))
case('leaky', 'lambda x: tf.nn.leaky_relu(x, 0.1)', [V], lambda x: np.where(x > 0, x, .1 * x), eras=['k2', 'tfk', 'k3'])
case('swish', 'lambda x: x * K.sigmoid(x)', [V], lambda x: x * sigmoid(x))
case('mish', 'lambda x: x * K.tanh(K.softplus(x))', [V], lambda x: x * np.tanh(np.log1p(np.exp(x))))
case('hswish', 'lambda x: x * (K.relu(x + 3., max_value=6.) / 6.)', [V], lambda x: x * np.clip(x + 3, 0, 6) / 6)
case('gelu', 'lambda x: 0.5 * x * (1 + tf.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * tf.pow(x, 3))))', [V],
     lambda x: .5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + .044715 * x ** 3))))
case('softmaxaxis', 'lambda x: tf.nn.softmax(x, axis=1)', [S], lambda x: softmax(x, 1), eras=['k2', 'tfk', 'k3'])
case('softsign', 'lambda x: K.softsign(x) + K.elu(x)', [V], lambda x: x / (1 + abs(x)) + np.where(x > 0, x, np.expm1(x)))
case('logsig', 'lambda x: K.log(K.clip(K.sigmoid(x), K.epsilon(), 1 - K.epsilon()))', [V], lambda x: np.log(sigmoid(x)))
case('elulike', 'lambda x: tf.where(x > 0, x, tf.exp(x) - 1)', [V], lambda x: np.where(x > 0, x, np.expm1(x)))
case('kswitch', 'lambda x: K.switch(x > 0, x, 0.1 * x)', [V], lambda x: np.where(x > 0, x, .1 * x), eras=['k2', 'tfk'])
case('actmodule', 'lambda x: keras.activations.relu(x) + keras.activations.tanh(x)', [V],
     lambda x: np.maximum(x, 0) + np.tanh(x))
case('sinusoid', 'lambda x: K.concatenate([K.sin(np.pi * x), K.cos(np.pi * x)])', [V],
     lambda x: np.concatenate([np.sin(np.pi * x), np.cos(np.pi * x)], -1))

# --- shapes ------------------------------------------------------------------------------
case('expand', 'lambda x: K.expand_dims(x, axis=-1)', [V], lambda x: x[..., None])
case('squeeze', 'lambda x: K.squeeze(x, 2)', [(5, 1)], lambda x: x[..., 0])
case('reshape', 'lambda x: K.reshape(x, (-1, 12, 2))', [S], lambda x: x.reshape(-1, 12, 2))
case('reshape2', 'lambda x: tf.reshape(x, [-1, x.shape[1] * x.shape[2]])', [S], lambda x: x.reshape(3, -1), eras=TF2)
case('reshape3', 'lambda x: K.reshape(x, (K.shape(x)[0], -1, 3))', [S], lambda x: x.reshape(3, -1, 3))
case('reshape4', '''
def f(x):
    shape = K.int_shape(x)
    return K.reshape(x, [-1, shape[1] * shape[2], shape[3]])
''', [I], lambda x: x.reshape(3, 24, 3))
case('reshape5', 'lambda x: tf.reshape(x, [-1] + x.get_shape().as_list()[1:3] + [3, 1])', [I], lambda x: x.reshape(3, 4, 6, 3, 1))
case('openshape', '''
def f(x):
    s = tf.shape(x)
    return tf.reshape(x, [s[0], s[1] * s[2]])
''', [S], lambda x: x.reshape(3, 24), open=True)
case('permute', 'lambda x: K.permute_dimensions(x, (0, 2, 1))', [S], lambda x: x.transpose(0, 2, 1))
case('transpose', 'lambda x: tf.transpose(x, perm=[0, 3, 1, 2])', [I], lambda x: x.transpose(0, 3, 1, 2))
case('stack', 'lambda x: K.stack([x, x * 2], axis=1)', [V], lambda x: np.stack([x, x * 2], 1))
case('repeat', 'lambda x: K.repeat(x, 3)', [V], lambda x: np.repeat(x[:, None], 3, 1))
case('repeatel', 'lambda x: K.repeat_elements(x, 2, axis=1)', [S], lambda x: np.repeat(x, 2, 1))
case('tile', 'lambda x: K.tile(x, [1, 2])', [V], lambda x: np.tile(x, (1, 2)))
case('tile2', 'lambda x: tf.tile(tf.expand_dims(x, 1), [1, 4, 1])', [V], lambda x: np.tile(x[:, None], (1, 4, 1)))
case('flatten', 'lambda x: K.batch_flatten(x)', [I], lambda x: x.reshape(3, -1))
case('concat', 'lambda x: K.concatenate([x, -x], axis=-1)', [V], lambda x: np.concatenate([x, -x], -1), all=True)
case('tfconcat', 'lambda x: tf.concat([x, tf.square(x)], axis=1)', [V], lambda x: np.concatenate([x, x * x], 1))
case('tfstack', 'lambda x: tf.stack([x[:, 0], x[:, 1]], axis=-1)', [V], lambda x: x[:, :2])
case('split', 'lambda x: tf.split(x, 2, axis=1)', [S], lambda x: [x[:, :3], x[:, 3:]])
case('splitsizes', 'lambda x: tf.split(x, [1, 3], axis=2)[1]', [S], lambda x: x[:, :, 1:])
case('unstack', 'lambda x: tf.unstack(x, axis=1)[2]', [S], lambda x: x[:, 2])
case('onehot', "lambda x: K.one_hot(K.cast(x, 'uint8'), num_classes=7)", [('int', 7, 5)], lambda x: np.eye(7)[x])
case('onehot2', "lambda x: tf.one_hot(tf.cast(x, tf.int32), 7)", [('int', 7, 5)], lambda x: np.eye(7)[x])
case('cast', "lambda x: K.cast(x, 'float32') / 7", [('int', 7, 5)], lambda x: x / 7)
case('zeros', 'lambda x: K.concatenate([x, K.zeros_like(x), K.ones_like(x)])', [V],
     lambda x: np.concatenate([x, 0 * x, 0 * x + 1], -1))
case('channelpad', 'lambda x: tf.pad(x, [[0, 0], [0, 0], [0, 0], [1, 2]])', [I], lambda x: np.pad(x, ((0, 0),) * 3 + ((1, 2),)))
case('reflect', "lambda x: tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], mode='REFLECT')", [I],
     lambda x: np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), 'reflect'))
case('kpad', 'lambda x: K.spatial_2d_padding(x, padding=((1, 0), (2, 1)))', [I],
     lambda x: np.pad(x, ((0, 0), (1, 0), (2, 1), (0, 0))), eras=['k2', 'tfk'])
case('reversek', 'lambda x: K.reverse(x, axes=1)', [S], lambda x: x[:, ::-1])
case('tfreverse', 'lambda x: tf.reverse(x, axis=[1])', [S], lambda x: x[:, ::-1])
case('rollit', 'lambda x: tf.roll(x, shift=1, axis=1)', [S], lambda x: np.roll(x, 1, 1))
case('shuffle', '''
def f(x, groups):
    h, w, c = x.shape.as_list()[1:]
    x = K.reshape(x, [-1, h, w, groups, c // groups])
    x = K.permute_dimensions(x, (0, 1, 2, 4, 3))
    return K.reshape(x, [-1, h, w, c])
''', [(4, 6, 6)], lambda x: x.reshape(3, 4, 6, 3, 2).transpose(0, 1, 2, 4, 3).reshape(3, 4, 6, 6),
     arguments={'groups': 3}, eras=OLD)

# --- images --------------------------------------------------------------------------------
case('pixelshuffle', 'lambda x: tf.nn.depth_to_space(x, 2)', [(2, 3, 8)],
     lambda x: x.reshape(3, 2, 3, 2, 2, 2).transpose(0, 1, 3, 2, 4, 5).reshape(3, 4, 6, 2))
case('spacetodepth', 'lambda x: tf.space_to_depth(x, block_size=2)', [(4, 6, 3)],
     lambda x: x.reshape(3, 2, 2, 3, 2, 3).transpose(0, 1, 3, 2, 4, 5).reshape(3, 2, 3, 12), eras=TF1)
case('upscale', 'lambda x: K.resize_images(x, 2, 2, "channels_last")', [I],
     lambda x: x.repeat(2, 1).repeat(2, 2), eras=['k2raw', 'k2', 'tfk'])
case('nearest', 'lambda x: tf.image.resize_nearest_neighbor(x, (8, 12))', [I], lambda x: x.repeat(2, 1).repeat(2, 2), eras=TF1)
case('nearest2', "lambda x: tf.image.resize(x, (8, 12), method='nearest')", [I], lambda x: x.repeat(2, 1).repeat(2, 2), eras=TF2)
case('preprocess', '''
def f(x):
    x = x[..., ::-1]
    mean = [103.939, 116.779, 123.68]
    return x * 255. - tf.constant(mean)
''', [I], lambda x: x[..., ::-1] * 255 - np.array([103.939, 116.779, 123.68]))
case('standardise', 'lambda x: (x - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])', [I],
     lambda x: (x - np.array([.485, .456, .406])) / np.array([.229, .224, .225]))
case('gray', 'lambda x: tf.image.rgb_to_grayscale(x)', [I],
     lambda x: (x * np.array([.2989, .587, .114])).sum(-1, keepdims=True))
case('avgpool', "lambda x: tf.nn.avg_pool(x, [1, 2, 2, 1], [1, 2, 2, 1], 'VALID')", [I],
     lambda x: x.reshape(3, 2, 2, 3, 2, 3).mean((2, 4)))

# --- the language ------------------------------------------------------------------------------
case('defaults', 'lambda x, a=.5, b=2.: a * x + b', [V], lambda x: .5 * x + 2, all=True)
case('arguments', 'lambda x, k, m: x ** k + m', [V], lambda x: x ** 2 + .5, arguments={'k': 2, 'm': .5}, all=True)
case('keywords', 'lambda x, **kw: x * kw["a"] + kw.get("b", 3)', [V], lambda x: x * 2 + 3, arguments={'a': 2})
case('branch', '''
def f(x, mode='mean'):
    if mode == 'sum':
        return K.sum(x, axis=1)
    elif mode in ('mean', 'average'):
        return K.mean(x, axis=1)
    raise ValueError(mode)
''', [S], lambda x: x.mean(1), all=True)
case('ternary', 'lambda x, training=None: x if training else x * 2', [V], lambda x: x * 2)
case('andor', 'lambda x, n=None: x * (n or 3) + (n is None and 1 or 2)', [V], lambda x: x * 3 + 1)
case('masknone', '''
def f(x, mask=None):
    if mask is not None:
        x = x * K.expand_dims(K.cast(mask, 'float32'))
    return K.sum(x, axis=1)
''', [S], lambda x: x.sum(1))
case('loop', '''
def f(x):
    out = x
    for i in range(3):
        out = out * x + i
    return out
''', [V], lambda x: ((x * x + 0) * x + 1) * x + 2, all=True)
case('whileloop', '''
def f(x):
    n = 0
    while n < 3:
        x = x + n
        n += 1
        if n == 2:
            continue
    return x
''', [V], lambda x: x + 3)
case('breakloop', '''
def f(x):
    for i in range(10):
        if i > 2:
            break
        x = x + i
    return x
''', [V], lambda x: x + 3, all=True)
case('append', '''
def f(x):
    parts = []
    for i, w in enumerate([0.5, 1.5, 2.5]):
        parts.append(w * x[:, i])
    return K.stack(parts, axis=1)
''', [V], lambda x: x[:, :3] * np.array([.5, 1.5, 2.5]), all=True)
case('comprehension', 'lambda x: K.concatenate([x * i for i in range(1, 4)], axis=-1)', [V],
     lambda x: np.concatenate([x, 2 * x, 3 * x], -1), all=True)
case('filtered', 'lambda x: sum([x * i for i in range(6) if i % 2 == 1])', [V], lambda x: 9 * x)
case('generator', 'lambda x: sum(x[:, i] for i in range(3))', [V], lambda x: x[:, :3].sum(1), all=True)
case('closedcomp', '''
def f(x, n=3):
    return K.stack([x[:, j] + n for j in range(n)], axis=-1)
''', [V], lambda x: x[:, :3] + 3)
case('dictcomp', '''
def f(x):
    d = {i: x * i for i in range(3)}
    return d[1] + d[2]
''', [V], lambda x: 3 * x)
case('inner', '''
def f(x):
    def g(y, scale=2.):
        return y * scale + 1
    return g(x) + g(x, scale=3.)
''', [V], lambda x: 5 * x + 2, all=True)
case('innerclosure', '''
def f(x):
    k = 4
    g = lambda y: y * k
    return g(g(x))
''', [V], lambda x: 16 * x, all=True)
case('closure', '''
def make():
    axis, scale = 1, 2.5
    def f(x):
        return K.sum(x, axis=axis) * scale
    return f
f = make()
''', [S], lambda x: x.sum(1) * 2.5, all=True)
case('recursion', '''
def f(x):
    def g(y, n):
        return y if n == 0 else g(y * 2, n - 1)
    return g(x, 3)
''', [V], lambda x: 8 * x)
case('mapping', 'lambda x: K.concatenate(list(map(lambda t: t * 2, x)))', [V, V], lambda x: 2 * np.concatenate(x, -1))
case('zipped', 'lambda x: sum(a * b for a, b in zip(x, (1., 2.)))', [V, V], lambda x: x[0] + 2 * x[1])
case('starcall', '''
def f(x):
    args = (x,)
    kwargs = {'axis': 1}
    return K.sum(*args, **kwargs) + K.max(x, **kwargs)
''', [S], lambda x: x.sum(1) + x.max(1), all=True)
case('starkw', '''
def f(x):
    def g(*args, **kw):
        return args[0] * kw['a'] + args[1] * kw['b'] + len(args)
    return g(x, *[x], a=2, **{'b': 3})
''', [V], lambda x: 5 * x + 2)
case('keywordonly', '''
def f(x):
    def g(y, *, k=2):
        return y * k
    return g(x) + g(x, k=3)
''', [V], lambda x: 5 * x, versions=PY36)
case('importtf', '''
def f(x):
    import tensorflow as tf
    return tf.square(x)
''', [V], lambda x: x * x)
case('importfrom', '''
def f(x):
    from keras import backend as K
    import numpy as np
    return K.square(x) + np.sqrt(16)
''', [V], lambda x: x * x + 4)
case('importdeep', '''
def f(x):
    import tensorflow.keras.backend as KK
    return KK.square(x)
''', [V], lambda x: x * x)
case('namescope', '''
def f(x):
    with tf.name_scope('scaled'):
        y = x * 2
    return y + 1
''', [V], lambda x: 2 * x + 1, all=True)
case('asserted', '''
def f(x):
    assert len(x) == 2, 'two'
    a, b = x
    return a * b
''', [V, V], lambda x: x[0] * x[1], all=True)
case('tryit', '''
def f(x):
    try:
        y = x * 2
    except ValueError:
        y = x
    return y
''', [V], lambda x: 2 * x, all=True)
case('docstring', '''
def f(x):
    """Doubles.

    Over several lines.
    """
    y = x + x

    return y
''', [V], lambda x: 2 * x)
case('annotated', '''
def f(x):
    n: int = 3
    return x * n
''', [V], lambda x: 3 * x, versions=PY36)
case('fstring', '''
def f(x):
    n = 3
    return tf.multiply(x, 2, name=f'double_{n}')
''', [V], lambda x: 2 * x, versions=PY36)
case('walrus', '''
def f(x):
    return (y := x * 2) + y
''', [V], lambda x: 4 * x, versions=PY3[4:])
case('swap', '''
def f(x):
    a, b = x
    a, b = b, a
    a, b, c = b, a, a
    return a - b * 2 + c
''', [V, V], lambda x: x[0] - x[1], all=True)
case('inplace', '''
def f(x):
    y = x * 1
    y += 2
    y *= 3
    y -= x
    y /= 2
    y **= 2
    return y
''', [V], lambda x: (((x + 2) * 3 - x) / 2) ** 2, all=True)
case('manyconstants', '''
def f(x):
    w = [[1., 2.], [3., 4.], [5., 6.], [7., 8.], [9., 10.]]
    return K.dot(x, K.constant(w))
''', [V], lambda x: x @ np.array([[1., 2], [3, 4], [5, 6], [7, 8], [9, 10]]))
case('longcode', 'lambda x: ' + ' + '.join('x * %d.25' % i for i in range(300)), [V],
     lambda x: sum(x * (i + .25) for i in range(300)))
case('longjump', '''
def f(x):
    for i in range(2):
''' + ''.join('        x = x + %d.5 * i\n' % i for i in range(80)) + '''
    return x
''', [V], lambda x: x + sum(i + .5 for i in range(80)))
case('shapeloop', '''
def f(x):
    out = 0
    for i in range(x.shape[1]):
        out = out + x[:, i] * (i + 1)
    return out
''', [S], lambda x: sum(x[:, i] * (i + 1) for i in range(6)), eras=TF2)
case('dynamictile', 'lambda x: tf.tile(x[:, :1], [1, tf.shape(x)[1], 1])', [S], lambda x: np.tile(x[:, :1], (1, 6, 1)), open=True)
case('openhalf', 'lambda x: x[:, :K.shape(x)[1] // 2]', [S], lambda x: x[:, :3], open=True)
case('openbroadcast', 'lambda t: t[0] + K.zeros_like(t[1])', [(1, 4), S], lambda t: t[0] + 0 * t[1])
case('opsmean', 'lambda x: ops.mean(x, axis=(1, 2))', [I], lambda x: x.mean((1, 2)), eras=['k3'])
case('opswhere', 'lambda x: ops.where(x > 0, x, 0.1 * x)', [V], lambda x: np.where(x > 0, x, .1 * x), eras=['k3'], all=True)
case('opsmix', 'lambda x: keras.ops.concatenate([keras.ops.sin(x), keras.ops.relu(x)], axis=-1)', [V],
     lambda x: np.concatenate([np.sin(x), np.maximum(x, 0)], -1), eras=['k3'])
case('opstake', 'lambda x: keras.ops.take(x, [0, 2], axis=1) + keras.ops.expand_dims(x[:, 0], 1)', [S],
     lambda x: x[:, [0, 2]] + x[:, :1], eras=['k3'])
case('opsnorm', 'lambda x: keras.ops.normalize(x, axis=-1)', [V], lambda x: normal(x, -1), eras=['k3'])
case('mathlib', 'lambda x: x * math.sqrt(2.) + math.log(10) - math.floor(2.7)', [V],
     lambda x: x * np.sqrt(2) + np.log(10) - 2)
case('kwargsdict', 'lambda x: dict(a=x, b=2)["a"] * {"c": 3}["c"]', [V], lambda x: 3 * x)
case('multiout', 'lambda x: [x, x * 2]', [V], lambda x: [x, x * 2])
case('tupleout', 'lambda x: (x[:, :2], x[:, 2:])', [V], lambda x: [x[:, :2], x[:, 2:]])
case('kone', 'lambda x: K.ones_like(x[:, :1]) - K.sum(x, axis=1, keepdims=True)', [V], lambda x: 1 - x.sum(1, keepdims=True))
case('einsum', "lambda x: tf.einsum('bij,bkj->bik', x[0], x[1])", [(3, 4), (5, 4)], lambda x: np.einsum('bij,bkj->bik', x[0], x[1]))
case('theano', 'lambda x: x.sum(axis=1) + x.mean(1) * x.max(axis=1)', [S], lambda x: x.sum(1) + x.mean(1) * x.max(1), eras=['k1'], backend='theano')
case('dimshuffle', "lambda x: x.dimshuffle(0, 'x', 2, 1)", [S], lambda x: x[:, None].transpose(0, 1, 3, 2), eras=['k1'], backend='theano')
case('tensorT', 'lambda x: T.concatenate([x, T.sqr(x)], axis=1) if False else T.maximum(x, 0)', [V], lambda x: np.maximum(x, 0), eras=['k1'], backend='theano')
