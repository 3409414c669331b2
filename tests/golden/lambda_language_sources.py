"""How published models write what their Lambda layers compute; see lambda_sources.py."""
import numpy as np

from lambda_sources import EPS, OLD, PY3, PY36, TF1, TF2, I, S, V, case, normal, sigmoid, softmax

KERAS2 = ['k2raw', 'k2', 'tfk']
PY38, PY310 = PY3[4:], PY3[6:]


def pairs(x, size):
    return x.reshape(x.shape[0], x.shape[1] // size, size, *x.shape[2:])


# --- distributions and boxes --------------------------------------------------------------
case('mixture', '''
def f(x, n=2):
    mus, sigmas, pi = tf.split(x, [n, n, n], axis=-1)
    return tf.concat([mus, tf.exp(sigmas), tf.nn.softmax(pi)], axis=-1)
''', [(6,)], lambda x: np.concatenate([x[:, :2], np.exp(x[:, 2:4]), softmax(x[:, 4:])], -1),
     eras=['k2', 'tfk', 'k3'])
case('yolohead', '''
def f(feats, anchors=[(1., 2.), (3., 4.)], classes=2):
    n = len(anchors)
    anchors = K.reshape(K.constant(anchors), [1, 1, 1, n, 2])
    shape = K.shape(feats)[1:3]
    gy = K.tile(K.reshape(K.arange(0, stop=shape[0]), [-1, 1, 1, 1]), [1, shape[1], 1, 1])
    gx = K.tile(K.reshape(K.arange(0, stop=shape[1]), [1, -1, 1, 1]), [shape[0], 1, 1, 1])
    grid = K.cast(K.concatenate([gx, gy]), K.dtype(feats))
    feats = K.reshape(feats, [-1, shape[0], shape[1], n, classes + 5])
    xy = (K.sigmoid(feats[..., :2]) + grid) / K.cast(shape[::-1], K.dtype(feats))
    wh = K.exp(feats[..., 2:4]) * anchors / K.cast(shape[::-1], K.dtype(feats))
    return K.concatenate([xy, wh, K.sigmoid(feats[..., 4:])])
''', [(2, 3, 14)], lambda x: (lambda f: np.concatenate([
    (sigmoid(f[..., :2]) + np.stack(np.meshgrid(range(3), range(2)), -1)[:, :, None]) / [3., 2.],
    np.exp(f[..., 2:4]) * np.array([[1., 2], [3, 4]]) / [3., 2.], sigmoid(f[..., 4:])], -1))(
        x.reshape(3, 2, 3, 2, 7)), eras=KERAS2)
case('boxes', '''
def f(boxes):
    cx, cy, w, h = tf.unstack(boxes, axis=-1)
    return tf.stack([cx - 0.5 * w, cy - 0.5 * h, cx + 0.5 * w, cy + 0.5 * h], axis=-1)
''', [S], lambda x: np.concatenate([x[..., :2] - x[..., 2:] / 2, x[..., :2] + x[..., 2:] / 2], -1))
case('iou', '''
def f(t):
    a, b = t
    lt = tf.maximum(a[..., None, :2], b[:, None, :, :2])
    rb = tf.minimum(a[..., None, 2:], b[:, None, :, 2:])
    wh = tf.maximum(rb - lt, 0.0)
    inter = wh[..., 0] * wh[..., 1]
    area = lambda q: (q[..., 2] - q[..., 0]) * (q[..., 3] - q[..., 1])
    return inter / (area(a)[..., None] + area(b)[:, None, :] - inter + 10.)
''', [(3, 4), (2, 4)], lambda t: (lambda a, b: (lambda i, s: i / (
    s(a)[..., None] + s(b)[:, None] - i + 10))(
        np.prod(np.maximum(np.minimum(a[:, :, None, 2:], b[:, None, :, 2:]) -
                           np.maximum(a[:, :, None, :2], b[:, None, :, :2]), 0), -1),
        lambda q: (q[..., 2] - q[..., 0]) * (q[..., 3] - q[..., 1])))(*t))
case('softargmax2d', '''
def f(x):
    b, h, w, c = x.shape
    flat = tf.nn.softmax(tf.reshape(x, [-1, h * w, c]), axis=1)
    maps = tf.reshape(flat, [-1, h, w, c])
    ys = tf.reduce_sum(tf.reduce_sum(maps, 2) * tf.reshape(tf.range(h, dtype=tf.float32),
                                                           [1, h, 1]), 1)
    xs = tf.reduce_sum(tf.reduce_sum(maps, 1) * tf.cast(tf.range(w), tf.float32)[None, :, None], 1)
    return tf.stack([xs, ys], -1)
''', [I], lambda x: (lambda m: np.stack([(m.sum(1) * np.arange(6)[:, None]).sum(1),
                                         (m.sum(2) * np.arange(4)[:, None]).sum(1)], -1))(
    softmax(x.reshape(3, 24, 3), 1).reshape(3, 4, 6, 3)), eras=TF2)
case('spatialsoftmax', '''
def f(x):
    e = K.exp(x - K.max(x, axis=(1, 2), keepdims=True))
    return e / K.sum(e, axis=(1, 2), keepdims=True)
''', [I], lambda x: np.exp(x) / np.exp(x).sum((1, 2), keepdims=True))

# --- the language ---------------------------------------------------------------------------
case('format', '''
def f(x, axis=1):
    name = 'sum_%d' % axis
    other = 'mean_{}'.format(axis)
    table = {'sum_1': K.sum, 'mean_1': K.mean}
    return table[name](x, axis=axis) + table[other](x, axis=axis)
''', [S], lambda x: x.sum(1) + x.mean(1))
case('lambdalist', '''
def f(x):
    steps = [lambda y: y * 2, lambda y: y + 1, K.square]
    for step in steps:
        x = step(x)
    return x
''', [V], lambda x: (2 * x + 1) ** 2)
case('reduced', '''
def f(x):
    from functools import reduce
    return reduce(lambda a, b: a * b, x)
''', [V, V, V], lambda x: x[0] * x[1] * x[2])
case('partial', '''
def f(x):
    from functools import partial
    g = partial(K.sum, axis=1, keepdims=True)
    return g(x) + x
''', [S], lambda x: x.sum(1, keepdims=True) + x)
case('defaultarray', 'lambda x, w=[1., 2., 3., 4., 5.]: x * K.constant(w)', [V],
     lambda x: x * np.arange(1, 6))
case('nestedcomp', 'lambda x: K.stack([K.stack([x[:, i] * x[:, j] for j in range(3)], 1) '
     'for i in range(3)], 1)', [V], lambda x: x[:, :3, None] * x[:, None, :3])
case('ifelsechain', '''
def f(x, pool='gem', eps=1e-6):
    if pool == 'avg':
        y = K.mean(x, axis=[1, 2])
    elif pool == 'max':
        y = K.max(x, axis=[1, 2])
    else:
        y = K.mean(K.maximum(x, eps) ** 3, axis=[1, 2]) ** (1. / 3)
    return y
''', [I], lambda x: (np.maximum(x, 1e-6) ** 3).mean((1, 2)) ** (1 / 3.))
case('forelse', '''
def f(x):
    for i in range(3):
        if i == 5:
            break
        x = x + i
    else:
        x = x * 2
    return x
''', [V], lambda x: 2 * (x + 3))
case('tupleswap', '''
def f(t):
    (a, b), c = (t[0], t[1]), t[2]
    return a * b - c
''', [V, V, V], lambda t: t[0] * t[1] - t[2])
case('slicing', '''
def f(x):
    sl = [slice(None)] * 3
    sl[1] = slice(1, None, 2)
    return x[tuple(sl)]
''', [S], lambda x: x[:, 1::2])
case('unpackdict', '''
def f(x):
    out = []
    for name, weight in sorted({'b': 2., 'a': 1.}.items()):
        out.append(x * weight)
    return K.concatenate(out)
''', [V], lambda x: np.concatenate([x, 2 * x], -1))
case('nonlocal', '''
def f(x):
    total = x
    def add(v):
        nonlocal total
        total = total + v
    for i in range(3):
        add(i)
    return total
''', [V], lambda x: x + 3, versions=PY36)
case('matchcase', '''
def f(x, mode='b'):
    match mode:
        case 'a':
            return x
        case 'b' | 'c':
            return x * 2
        case _:
            return x * 3
''', [V], lambda x: 2 * x, versions=PY310)
case('walrusloop', '''
def f(x):
    return K.concatenate([(y := x * i) + y for i in range(1, 3)])
''', [V], lambda x: np.concatenate([2 * x, 4 * x], -1), versions=PY38)
case('starinner', '''
def f(x):
    first, *middle, last = [x[:, i] for i in range(5)]
    return K.stack([last, *middle, first], axis=1)
''', [V], lambda x: x[:, ::1][:, [4, 1, 2, 3, 0]], versions=PY36)
case('setmember', "lambda x, mode='same': x * 2 if mode in {'same', 'valid'} else x", [V],
     lambda x: 2 * x)
case('chained', 'lambda x, n=2: x * n if 1 < n <= 3 else x', [V], lambda x: 2 * x)
case('notin', "lambda x, axes=(1, 2): K.sum(x, axis=[a for a in range(1, 4) if a not in axes])",
     [I], lambda x: x.sum(3))
case('anyall', 'lambda x: x * 2 if all(d is not None for d in K.int_shape(x)[1:]) else x', [I],
     lambda x: 2 * x)
case('maxmin', 'lambda x: x[:, :max(1, min(K.int_shape(x)[1], 4)), :]', [S], lambda x: x[:, :4])
case('divmods', '''
def f(x):
    q, r = divmod(K.int_shape(x)[1], 4)
    return x[:, q:q + r + 1]
''', [S], lambda x: x[:, 1:4])
case('dictget', '''
def f(x, **kwargs):
    axis = kwargs.pop('axis', 1)
    keep = kwargs.get('keepdims', True)
    return K.sum(x, axis=axis, keepdims=keep)
''', [S], lambda x: x.sum(1, keepdims=True))
case('trynone', '''
def f(x, scale=None):
    if not scale:
        scale = float(K.int_shape(x)[-1]) ** -0.5
    return x * scale
''', [S], lambda x: x * .5)
case('zipstar', '''
def f(x):
    pairs = [(x[0], 1.), (x[1], 2.)]
    tensors, weights = zip(*pairs)
    return sum(t * w for t, w in zip(tensors, weights)) / sum(weights)
''', [V, V], lambda x: (x[0] + 2 * x[1]) / 3)
case('isinstances', '''
def f(x):
    if isinstance(x, (list, tuple)):
        x = x[0] + x[1]
    return x if not isinstance(x, list) else None
''', [V, V], lambda x: x[0] + x[1])
case('hasattrs', "lambda x: x * 2 if hasattr(x, 'shape') else x", [V], lambda x: 2 * x)
case('whilebreak', '''
def f(x):
    while K.int_shape(x)[1] > 1:
        x = x[:, ::2] + 1
    return x
''', [(8,)], lambda x: x[:, :1] + 3)
case('bits', 'lambda x, flags=6: x * (flags >> 1 & 3) + (1 << 2 | 1) - (5 ^ 1)', [V],
     lambda x: 3 * x + 1)
case('accumulate', '''
def f(x):
    state = x[:, 0]
    states = [state]
    for t in range(1, K.int_shape(x)[1]):
        state = 0.9 * state + 0.1 * x[:, t]
        states += [state]
    return K.stack(states, axis=1)
''', [S], lambda x: np.stack([sum(.9 ** (t - i) * (.1 if i else 1.) * x[:, i]
                                  for i in range(t + 1)) for t in range(6)], 1))
case('globalspace', '''
def f(x):
    pi = math.pi
    e = math.e
    return K.cos(pi * x) + x * e + np.pi * np.e + float('inf') * 0 if False else K.cos(pi * x)
''', [V], lambda x: np.cos(np.pi * x))
case('tensorarguments', 'lambda image, mu, std: (image - mu) / std', [(2, 3)],
     lambda x: (x - np.array([[1., 2, 3], [4, 5, 6]])) / 2,
     arguments={'mu': {'type': 'ndarray', 'value': [[1., 2., 3.], [4., 5., 6.]]}, 'std': 2.},
     eras=['k2', 'tfk'])
case('closurearray', '''
def make():
    weights = [0.25, 0.75]
    names = ('a', 'b')
    return lambda t: sum(w * v for w, v, n in zip(weights, t, names))
f = make()
''', [V, V], lambda t: .25 * t[0] + .75 * t[1])

# --- keras 3 --------------------------------------------------------------------------------
case('ops1', 'lambda x: ops.softmax(ops.matmul(x, ops.transpose(x, (0, 2, 1))) / ops.sqrt(4.0))',
     [S], lambda x: softmax(x @ x.transpose(0, 2, 1) / 2), eras=['k3'])
case('ops2', 'lambda x: keras.ops.cast(x > 0, "float32") + keras.ops.clip(x, 0, 1)', [V],
     lambda x: (x > 0) + np.clip(x, 0, 1), eras=['k3'])
case('ops3', 'lambda x: ops.concatenate(ops.split(x, 2, axis=-1)[::-1], axis=-1)', [S],
     lambda x: np.concatenate([x[..., 2:], x[..., :2]], -1), eras=['k3'])
case('ops4', 'lambda x: ops.squeeze(ops.stack([ops.max(x, 1), ops.min(x, 1)], 1), axis=-1)',
     [(6, 1)], lambda x: np.stack([x.max(1), x.min(1)], 1)[..., 0], eras=['k3'])
case('ops5', 'lambda x: ops.einsum("bij,bkj->bik", x, x) * ops.tril(ops.ones((6, 6)))', [S],
     lambda x: np.tril(x @ x.transpose(0, 2, 1)), eras=['k3'])
case('ops6', 'lambda x: ops.reshape(x, (-1, x.shape[1] // 2, 2, x.shape[2]))', [S],
     lambda x: pairs(x, 2), eras=['k3'])
case('ops7', 'lambda x: ops.one_hot(ops.argmax(x, axis=-1), 5)', [V],
     lambda x: np.eye(5)[x.argmax(-1)], eras=['k3'])
case('ops8', 'lambda x: keras.ops.image.resize(x, (8, 12), interpolation="nearest")', [I],
     lambda x: x.repeat(2, 1).repeat(2, 2), eras=['k3'])
case('ops9', 'lambda x: keras.ops.logsumexp(x, axis=1) + keras.ops.var(x, axis=1) + '
     'keras.ops.median(x, axis=1)', [(5, 4)],
     lambda x: np.log(np.exp(x).sum(1)) + x.var(1) + np.median(x, axis=1), eras=['k3'])
case('ops10', 'lambda x: ops.roll(ops.flip(x, axis=1), 1, axis=1) + ops.repeat(x[:, :1], 6, axis=1)',
     [S], lambda x: np.roll(x[:, ::-1], 1, 1) + x[:, :1], eras=['k3'])
case('ops11', 'lambda x: ops.nn.gelu(x, approximate=False) + ops.silu(x) + ops.relu6(x)', [V],
     lambda x: np.array([[.5 * v * (1 + __import__('math').erf(v / 2 ** .5)) for v in r]
                         for r in x]) + x * sigmoid(x) + np.clip(x, 0, 6), eras=['k3'])
case('ops12', 'lambda x: keras.ops.norm(x, axis=-1, keepdims=True) + keras.ops.dot(x, '
     'keras.ops.ones((4, 1)))', [S], lambda x: np.sqrt((x * x).sum(-1, keepdims=True)) +
     x.sum(-1, keepdims=True), eras=['k3'])

# --- colours and turns -----------------------------------------------------------------------
case('yuv', 'lambda x: tf.image.yuv_to_rgb(tf.image.rgb_to_yuv(x) * 0.5)', [I],
     lambda x: x * .5, eras=TF2)
case('luma', 'lambda x: tf.image.rgb_to_yuv(x)[..., :1]', [I],
     lambda x: (x * np.array([.299, .587, .114])).sum(-1, keepdims=True), eras=TF2)
case('yiq', 'lambda x: tf.image.rgb_to_yiq(x)[..., 1:]', [I],
     lambda x: x @ np.array([[.59590059, .2115], [-.27455667, -.52273617], [-.32134392, .31119955]]),
     eras=TF2)
case('padsmall', "lambda x: tf.image.resize_with_pad(x, 8, 12, 'nearest')", [I],
     lambda x: x.repeat(2, 1).repeat(2, 2), eras=TF2)


def hsv(x):
    import colorsys
    return np.array([colorsys.rgb_to_hsv(*p) for p in x.reshape(-1, 3)]).reshape(x.shape)


case('hsv', 'lambda x: tf.image.rgb_to_hsv(tf.abs(x))', [I], lambda x: hsv(abs(x)))
case('hsvback', 'lambda x: tf.image.hsv_to_rgb(tf.image.rgb_to_hsv(tf.abs(x))) - tf.abs(x)', [I],
     lambda x: 0 * x)
case('saturation', 'lambda x: tf.image.adjust_saturation(tf.abs(x), 0.)', [I],
     lambda x: np.repeat(abs(x).max(-1, keepdims=True), 3, -1))
case('gamma', 'lambda x: tf.image.adjust_gamma(tf.abs(x), gamma=2., gain=0.5)', [I],
     lambda x: .5 * x * x)
case('turned', 'lambda x: tf.image.rot90(x, k=3) + tf.image.rot90(tf.image.transpose(x), 2)', [I],
     lambda x: np.rot90(x, 3, (1, 2)) + np.rot90(x.transpose(0, 2, 1, 3), 2, (1, 2)), eras=['tfk'])
case('variation', 'lambda x: tf.image.total_variation(x)', [I],
     lambda x: abs(np.diff(x, axis=1)).sum((1, 2, 3)) + abs(np.diff(x, axis=2)).sum((1, 2, 3)))
case('cropodd', 'lambda x: tf.image.resize_with_crop_or_pad(x, 7, 3)', [I],
     lambda x: np.pad(x[:, :, 1:4], ((0, 0), (1, 2), (0, 0), (0, 0))), eras=TF2)

# --- more of the language -------------------------------------------------------------------
case('pairwise', '''
def f(x):
    import itertools
    fields = [x[:, i, :] for i in range(3)]
    return K.concatenate([a * b for a, b in itertools.combinations(fields, 2)], axis=-1)
''', [(3, 4)], lambda x: np.concatenate([x[:, 0] * x[:, 1], x[:, 0] * x[:, 2], x[:, 1] * x[:, 2]],
                                        -1))
case('products', '''
def f(x):
    from itertools import product, chain
    parts = [x[:, i:i + 1] * j for i, j in product(range(2), (1., 2.))]
    return K.concatenate(list(chain(parts, [x])), axis=-1)
''', [V], lambda x: np.concatenate([x[:, :1], 2 * x[:, :1], x[:, 1:2], 2 * x[:, 1:2], x], -1))
case('sortedkey', '''
def f(x):
    parts = sorted([(2, 'b'), (1, 'a')], key=lambda p: p[0], reverse=True)
    return sum(x * n for n, _ in parts) if [n for n, _ in parts] == [2, 1] else x
''', [V], lambda x: 3 * x)
case('filterit', 'lambda x: sum(filter(lambda i: i is not None, [x[0], None, x[1]]))', [V, V],
     lambda x: x[0] + x[1])
case('texts', '''
def f(x, spec='mean, max'):
    ops = dict(mean=K.mean, max=K.max, sum=K.sum)
    parts = [ops[name.strip()](x, axis=1) for name in spec.split(',')]
    return K.concatenate(parts, axis=-1)
''', [S], lambda x: np.concatenate([x.mean(1), x.max(1)], -1))
case('updates', '''
def f(x):
    options = {'axis': 1}
    options.update(keepdims=True)
    options.setdefault('axis', 2)
    return K.sum(x, **options)
''', [S], lambda x: x.sum(1, keepdims=True))
case('globalhelper', '''
def f(x):
    def block(t, rate, squared=False, *extra, **options):
        t = t * rate + len(extra)
        return K.square(t) if squared else t
    first = block(x, 2.)
    second = block(x, rate=3., squared=True)
    third = block(x, 1., False, 7, 8, name='third')
    return first + second + third
''', [V], lambda x: 2 * x + 9 * x * x + x + 2)
case('deepclosure', '''
def make(n):
    def scale(v):
        return v * n
    def f(x):
        return scale(x) + n
    return lambda x: K.relu(x) * n
f = make(3)
''', [V], lambda x: np.maximum(x, 0) * 3)
case('inloop', '''
def f(x):
    outputs = [[] for _ in range(2)]
    for i in range(4):
        outputs[i % 2].append(x[:, i])
    return K.concatenate([K.stack(o, axis=1) for o in outputs], axis=1)
''', [V], lambda x: x[:, [0, 2, 1, 3]])
case('earlyreturn', '''
def f(x):
    n = K.int_shape(x)[1]
    if n is None:
        return x
    elif n % 2:
        return x[:, :-1]
    return x
''', [V], lambda x: x[:, :-1])
case('ifexpr', 'lambda x: (x if K.image_data_format() == "channels_last" else '
     'K.permute_dimensions(x, (0, 2, 3, 1)))[..., 0]', [I], lambda x: x[..., 0],
     eras=['k2raw', 'k2', 'tfk'])
case('mergesum', '''
def f(inputs):
    out = None
    for t in inputs:
        out = t if out is None else out + t
    return out
''', [V, V, V], lambda x: sum(x))
case('unpackstar', '''
def f(x):
    a, (b, c) = x[0], x[1:]
    return a + b * c
''', [V, V, V], lambda x: x[0] + x[1] * x[2])
case('longchain', 'lambda x: K.sum(K.square(K.abs(K.exp(x) - 1.)), axis=-1, keepdims=True) ** 0.5',
     [V], lambda x: np.sqrt((np.expm1(x) ** 2).sum(-1, keepdims=True)))
case('lstmlast', 'lambda x, idx: x[:, idx, :]', [S], lambda x: x[:, 2], arguments={'idx': 2})
case('sliceargs', 'lambda x, begin, size: tf.slice(x, begin, size)', [S], lambda x: x[:, 1:3, :2],
     arguments={'begin': [0, 1, 0], 'size': [-1, 2, 2]})
case('dtypearg', "lambda x, dtype: K.cast(x, dtype) + 1", [('int', 4, 5)], lambda x: x + 1.,
     arguments={'dtype': 'float32'})
case('nestedlist', 'lambda x: K.concatenate([t for pair in [[x[0], x[1]], [x[1], x[0]]] '
     'for t in pair])', [V, V], lambda x: np.concatenate([x[0], x[1], x[1], x[0]], -1))
case('segments', 'lambda x: tf.reduce_mean(tf.reshape(x, [-1, 3, 2, 4]), axis=2)', [S],
     lambda x: x.reshape(3, 3, 2, 4).mean(2))
case('convertit', 'lambda x: tf.convert_to_tensor(x, dtype=tf.float32) * tf.constant(2.)', [V],
     lambda x: 2 * x)
case('oldmatmul', 'lambda t: tf.batch_matmul(t[0], t[1], adj_y=True)', [(3, 4), (5, 4)],
     lambda t: t[0] @ t[1].transpose(0, 2, 1), eras=['k1'])
case('oldpack', 'lambda x: tf.pack([x, 2 * x], axis=1) + tf.pack(tf.unpack(tf.pack([x, x], 1), axis=1), 1)', [V],
     lambda x: np.stack([x, 2 * x], 1) + np.stack([x, x], 1), eras=['k1'])
case('batchdotk', 'lambda t: K.batch_dot(t[0], K.permute_dimensions(t[1], (0, 2, 1)))',
     [(3, 4), (5, 4)], lambda t: t[0] @ t[1].transpose(0, 2, 1))
case('batchdotvector', 'lambda t: K.batch_dot(t[0], t[1], axes=(1, 1))', [S, (6,)],
     lambda t: (t[0] * t[1][..., None]).sum(1))
case('batchdot4', 'lambda t: K.batch_dot(t[0], t[1], axes=(2, 1))', [(3, 4), (4, 5)],
     lambda t: t[0] @ t[1])
case('kconstant', 'lambda x: x * K.constant(3, dtype="float32") + K.constant([1, 2, 3, 4, 5])',
     [V], lambda x: 3 * x + np.arange(1, 6))
case('resizelayers', "lambda x: K.resize_images(x, height_factor=2, width_factor=2, "
     "data_format='channels_last', interpolation='nearest')", [I],
     lambda x: x.repeat(2, 1).repeat(2, 2), eras=['k2', 'tfk'])
case('upbilinear', 'lambda x: tf.image.resize(x, [K.int_shape(x)[1] * 2, K.int_shape(x)[2] * 2], '
     'tf.image.ResizeMethod.NEAREST_NEIGHBOR)', [I], lambda x: x.repeat(2, 1).repeat(2, 2),
     eras=['tfk'])
case('aligncorners', 'lambda x: tf.image.resize_bilinear(x, (7, 11), align_corners=True)[:, ::2, '
     '::2]', [I], lambda x: x, eras=TF1)
case('v1resize', 'lambda x: tf.compat.v1.image.resize_bilinear(x, size=(7, 11), '
     'align_corners=True)[:, ::2, ::2]', [I], lambda x: x, eras=TF2)
case('v1images', "lambda x: tf.image.resize_images(x, (8, 12), method=1)", [I],
     lambda x: x.repeat(2, 1).repeat(2, 2), eras=TF1)
case('floordims', 'lambda x: K.reshape(x, (-1, K.int_shape(x)[1] // 2, K.int_shape(x)[2] * 2))',
     [S], lambda x: x.reshape(3, 3, 8))
case('batchsize', 'lambda x: K.reshape(K.tile(K.zeros((1, 2)), [K.shape(x)[0], 1]), (-1, 2)) + x',
     [(2,)], lambda x: x)
case('zerostate', 'lambda x: tf.zeros((tf.shape(x)[0], 3)) + tf.reduce_sum(x, 1, True)', [V],
     lambda x: np.zeros((3, 3)) + x.sum(1, keepdims=True), eras=['tfk'])
case('filled', 'lambda x: tf.fill([tf.shape(x)[0], 2], 0.5) + x', [(2,)], lambda x: x + .5)
case('expandrange', 'lambda x: x + tf.reshape(tf.range(5, dtype=tf.float32), (1, 5))', [V],
     lambda x: x + np.arange(5))
case('arange32', 'lambda x: x * K.cast(K.arange(5), K.floatx())', [V], lambda x: x * np.arange(5))
case('dotnp', "lambda x: tf.matmul(x, tf.convert_to_tensor(np.eye(5)[:, :2], dtype='float32'))",
     [V], lambda x: x[:, :2])
case('nptri', 'lambda x: x * K.constant(np.tril(np.ones((5, 5))))[2]', [V],
     lambda x: x * (np.arange(5) <= 2))
case('nplinspace', 'lambda x: x + np.linspace(0, 1, 5).astype("float32")', [V],
     lambda x: x + np.linspace(0, 1, 5))
case('softmaxtau', 'lambda x, tau: K.exp(x / tau) / K.sum(K.exp(x / tau), axis=-1, keepdims=True)',
     [V], lambda x: softmax(x / .7), arguments={'tau': .7})
case('entropy', 'lambda p: -K.sum(p * K.log(K.clip(p, K.epsilon(), 1.)), axis=-1)', [V],
     lambda p: -(p * np.log(np.clip(p, EPS, 1))).sum(-1))
case('rescale', 'lambda x: tf.subtract(tf.divide(tf.cast(x, tf.float32), 127.5), 1)',
     [('int', 256, 4, 6, 3)], lambda x: x / 127.5 - 1)
case('addnames', 'lambda x: tf.add(x[0], x[1], name="sum") - tf.math.subtract(x[0], x[1]) + '
     'tf.math.multiply(x[0], x[1])', [V, V], lambda x: 2 * x[1] + x[0] * x[1],
     eras=['k2', 'tfk', 'k3'])
case('scalarmul', 'lambda x: tf.scalar_mul(0.5, x) + tf.math.pow(x, 2)', [V],
     lambda x: .5 * x + x * x, eras=['k2', 'tfk', 'k3'])
case('maskmul', '''
def f(inputs, mask=None):
    x, m = inputs
    m = K.cast(K.not_equal(m, 0), K.floatx())
    return x * K.expand_dims(m, -1) - (1 - K.expand_dims(m, -1)) * 1e10
''', [S, ('int', 2, 6)], lambda t: np.where((t[1] != 0)[..., None], t[0], -1e10))
