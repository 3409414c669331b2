"""What published models hold in their Lambda layers; see lambda_sources.py."""
import numpy as np

from lambda_sources import OLD, TF1, TF2, I, S, V, case, normal, sigmoid, softmax

KERAS2 = ['k2raw', 'k2', 'tfk']
NEW = ['k2', 'tfk', 'k3']

# --- reductions and comparisons of towers ------------------------------------------------
case('cosinedist', '''
def f(vests):
    x, y = vests
    x = K.l2_normalize(x, axis=-1)
    y = K.l2_normalize(y, axis=-1)
    return -K.mean(x * y, axis=-1, keepdims=True)
''', [V, V], lambda v: -(normal(v[0], -1) * normal(v[1], -1)).mean(-1, keepdims=True))
case('tripletdistance', '''
def f(inputs, margin=0.2):
    anchor, positive, negative = inputs
    axis = list(range(1, len(anchor.shape)))
    return tf.maximum(
        (tf.reduce_sum(tf.square(anchor - positive), axis=axis) -
         tf.reduce_sum(tf.square(anchor - negative), axis=axis) + margin), 0)
''', [S, S, S], lambda t: np.maximum(((t[0] - t[1]) ** 2).sum((1, 2)) -
                                     ((t[0] - t[2]) ** 2).sum((1, 2)) + .2, 0), eras=TF2)
case('lastaxissum', 'lambda x: x / tf.reduce_sum(x, len(x.get_shape()) - 1, True)', [S],
     lambda x: x / x.sum(-1, keepdims=True), eras=['tfk'])
case('cbam', 'lambda x: K.concatenate([K.mean(x, axis=3, keepdims=True), '
     'K.max(x, axis=3, keepdims=True)], axis=3)', [I],
     lambda x: np.concatenate([x.mean(3, keepdims=True), x.max(3, keepdims=True)], 3))
case('squeezetwice', 'lambda x: K.squeeze(K.squeeze(x, 3), 2)', [(5, 1, 1)],
     lambda x: x[:, :, 0, 0])
case('arcsim', 'lambda x: tf.acos(tf.clip_by_value(tf.reduce_sum(tf.multiply(x[0], x[1]), 1), '
     '-1 + 1e-7, 1 - 1e-7))', [V, V],
     lambda x: np.arccos(np.clip((x[0] * x[1]).sum(1), -1 + 1e-7, 1 - 1e-7)))
case('pearson', '''
def f(t):
    a, b = t
    a = a - tf.reduce_mean(a, axis=1, keepdims=True)
    b = b - tf.reduce_mean(b, axis=1, keepdims=True)
    num = tf.reduce_sum(a * b, axis=1)
    den = tf.sqrt(tf.reduce_sum(a ** 2, axis=1) * tf.reduce_sum(b ** 2, axis=1))
    return tf.math.divide_no_nan(num, den)
''', [V, V], lambda t: (lambda a, b: (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1)))(
    t[0] - t[0].mean(1, keepdims=True), t[1] - t[1].mean(1, keepdims=True)), eras=['tfk'])
case('linalgnorm', 'lambda x: tf.linalg.norm(x[0] - x[1], axis=1, keepdims=True, ord=1)', [V, V],
     lambda x: abs(x[0] - x[1]).sum(1, keepdims=True), eras=TF2)
case('bilinear', 'lambda x: tf.reduce_sum(tf.einsum("bi,bj->bij", x[0], x[1]), axis=[1, 2])',
     [V, (3,)], lambda x: x[0].sum(1) * x[1].sum(1))
case('fm', '''
def f(x):
    square_of_sum = tf.square(tf.reduce_sum(x, axis=1, keepdims=True))
    sum_of_square = tf.reduce_sum(x * x, axis=1, keepdims=True)
    cross_term = square_of_sum - sum_of_square
    return 0.5 * tf.reduce_sum(cross_term, axis=2, keepdims=False)
''', [S], lambda x: .5 * (x.sum(1) ** 2 - (x * x).sum(1)).sum(1, keepdims=True), eras=NEW)
case('meanstd', 'lambda x: tf.concat([tf.math.reduce_mean(x, 1), tf.math.reduce_std(x, 1), '
     'tf.math.reduce_variance(x, axis=1)], -1)', [S],
     lambda x: np.concatenate([x.mean(1), x.std(1), x.var(1)], -1), eras=TF2)
case('allany', 'lambda x: tf.cast(tf.reduce_any(x > 0.5, axis=-1), tf.float32) + '
     'tf.cast(tf.reduce_all(tf.less(x, 0.9), axis=-1), "float32")', [S],
     lambda x: (x > .5).any(-1) * 1. + (x < .9).all(-1))
case('argmin', "lambda x: tf.cast(tf.argmin(x, axis=1), tf.float32)", [S],
     lambda x: x.argmin(1).astype('float32'))
case('countnonzero', "lambda x: tf.cast(tf.math.count_nonzero(x > 0, axis=1), tf.float32)", [S],
     lambda x: (x > 0).sum(1).astype('float32'), eras=TF2)
case('kmaxpool', '''
def f(x, k=2):
    shifted = tf.transpose(x, [0, 2, 1])
    top_k = tf.nn.top_k(shifted, k=k, sorted=True)[0]
    return tf.reshape(top_k, [-1, 4 * k])
''', [S], lambda x: -np.sort(-x.transpose(0, 2, 1), -1)[:, :, :2].reshape(3, -1))
case('topkattr', 'lambda x: tf.math.top_k(x, k=3, sorted=True).values', [V],
     lambda x: -np.sort(-x, -1)[:, :3], eras=TF2)
case('sorted', "lambda x: tf.sort(x, axis=-1, direction='DESCENDING')", [S],
     lambda x: -np.sort(-x, -1), eras=TF2)
case('argsorted', "lambda x: tf.cast(tf.argsort(x, axis=-1), tf.float32)", [V],
     lambda x: np.argsort(x, -1).astype('float32'), eras=TF2)
case('cumprod', 'lambda x: K.cumprod(1 - K.abs(x), axis=1) + tf.cumsum(x, axis=1, exclusive=True, '
     'reverse=True)', [S],
     lambda x: np.cumprod(1 - abs(x), 1) + x[:, ::-1].cumsum(1)[:, ::-1] - x, eras=KERAS2)

# --- attention --------------------------------------------------------------------------
case('scaledattention', '''
def f(inputs):
    q, k, v = inputs
    d = K.int_shape(q)[-1]
    scores = K.batch_dot(q, k, axes=[2, 2]) / (d ** 0.5)
    return K.batch_dot(K.softmax(scores), v, axes=[2, 1])
''', [(3, 4), (5, 4), (5, 2)],
     lambda t: softmax(t[0] @ t[1].transpose(0, 2, 1) / 2) @ t[2])
case('splitheads', '''
def f(x, h=2):
    b, n, d = tf.shape(x)[0], tf.shape(x)[1], x.shape[-1]
    x = tf.reshape(x, (b, n, h, d // h))
    return tf.reshape(tf.transpose(x, (0, 2, 1, 3)), (b * h, n, d // h))
''', [S], lambda x: x.reshape(3, 6, 2, 2).transpose(0, 2, 1, 3).reshape(6, 6, 2), eras=TF2,
     arguments={})
case('causal', '''
def f(x):
    n = tf.shape(x)[1]
    mask = tf.linalg.band_part(tf.ones((n, n)), -1, 0)
    return tf.nn.softmax(x * mask - 1e9 * (1 - mask), axis=-1)
''', [(5, 5)], lambda x: (lambda m: softmax(np.where(m, x, -1e9)))(np.tril(np.ones((5, 5), bool))),
     eras=TF2)
case('tril', 'lambda x: x * tf.matrix_band_part(tf.ones_like(x), -1, 0)', [(5, 5)],
     lambda x: np.tril(x), eras=TF1)
case('rangemask', '''
def f(inputs):
    x, lengths = inputs
    positions = tf.range(tf.shape(x)[1])
    mask = tf.cast(positions[None, :] < lengths, x.dtype)
    return tf.reduce_sum(x * mask[..., None], 1) / tf.reduce_sum(mask, 1, keepdims=True)
''', [S, ('int', 6, 1)], lambda t: (lambda m: (t[0] * m[..., None]).sum(1) / np.maximum(
    m.sum(1, keepdims=True), 0))(np.arange(6) < t[1]) if (t[1] > 0).all() else None, eras=['tfk'])
case('sequencemask', 'lambda t: t[0] * tf.expand_dims(tf.sequence_mask(t[1][:, 0], maxlen=6, '
     'dtype=tf.float32), -1)', [S, ('int', 6, 1)],
     lambda t: t[0] * (np.arange(6) < t[1])[..., None])
case('paddingmask', '''
def f(x):
    mask = tf.cast(tf.math.equal(x, 0), tf.float32)
    return mask[:, tf.newaxis, tf.newaxis, :]
''', [('int', 3, 6)], lambda x: (x == 0)[:, None, None].astype('float32'), eras=NEW)
case('tensordot', 'lambda x: tf.tensordot(x, tf.constant([[1., 2.], [0., 1.], [3., 0.], [1., 1.]]),'
     ' axes=1)', [S], lambda x: x @ np.array([[1., 2], [0, 1], [3, 0], [1, 1]]))
case('kdot', 'lambda t: K.dot(t, K.variable(np.ones((4, 2)))) + K.constant(1., shape=(2,))', [S],
     lambda x: x.sum(-1, keepdims=True) + np.ones(2))
case('adjoint', 'lambda t: tf.linalg.matmul(t[0], t[1], transpose_a=True) + '
     'tf.linalg.matvec(t[0], t[1][:, :, 0], transpose_a=True)[:, :, None]', [(3, 4), (3, 5)],
     lambda t: t[0].transpose(0, 2, 1) @ t[1] + t[0].transpose(0, 2, 1) @ t[1][:, :, :1], eras=TF2)

# --- images -----------------------------------------------------------------------------
case('subpixel', '''
def f(x, scale=2):
    return tf.depth_to_space(x, scale)
''', [(2, 3, 8)], lambda x: x.reshape(3, 2, 3, 2, 2, 2).transpose(0, 1, 3, 2, 4, 5)
     .reshape(3, 4, 6, 2), eras=TF1)
case('s2d2', 'lambda x: tf.nn.space_to_depth(x, 2)', [(4, 6, 3)],
     lambda x: x.reshape(3, 2, 2, 3, 2, 3).transpose(0, 1, 3, 2, 4, 5).reshape(3, 2, 3, 12),
     eras=TF2)
case('flips', 'lambda x: tf.image.flip_left_right(x) + tf.image.flip_up_down(x)', [I],
     lambda x: x[:, :, ::-1] + x[:, ::-1])
case('rot90', 'lambda x: tf.image.rot90(x, k=1)', [I], lambda x: np.rot90(x, 1, (1, 2)), eras=TF2)
case('croppadded', 'lambda x: tf.image.crop_to_bounding_box(x, 1, 2, 2, 3)', [I],
     lambda x: x[:, 1:3, 2:5])
case('centralcrop', 'lambda x: tf.image.central_crop(x, 0.5)', [(4, 8, 3)],
     lambda x: x[:, 1:3, 2:6], eras=TF2)
case('croporpad', 'lambda x: tf.image.resize_with_crop_or_pad(x, 6, 4)', [I],
     lambda x: np.pad(x[:, :, 1:5], ((0, 0), (1, 1), (0, 0), (0, 0))), eras=TF2)
case('padbox', 'lambda x: tf.image.pad_to_bounding_box(x, 1, 1, 6, 8)', [I],
     lambda x: np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))))
case('brightness', 'lambda x: tf.image.adjust_brightness(x, 0.25)', [I], lambda x: x + .25)
case('contrast', 'lambda x: tf.image.adjust_contrast(x, 2.)', [I],
     lambda x: (x - x.mean((1, 2), keepdims=True)) * 2 + x.mean((1, 2), keepdims=True))
case('perimage', 'lambda x: tf.image.per_image_standardization(x)', [I],
     lambda x: (x - x.mean((1, 2, 3), keepdims=True)) / np.maximum(
         x.std((1, 2, 3), keepdims=True), 1 / np.sqrt(72)), eras=TF2)
case('graytorgb', 'lambda x: tf.image.grayscale_to_rgb(x)', [(4, 6, 1)], lambda x: x.repeat(3, -1))
case('graytorgbk', 'lambda x: K.repeat_elements(x, 3, axis=-1)', [(4, 6, 1)],
     lambda x: x.repeat(3, -1))
case('graystack', 'lambda x: K.stack((x,) * 3, -1)', [(4, 6)],
     lambda x: np.stack([x] * 3, -1))
case('nvidia', 'lambda x: (x / 127.5) - 1.0', [I], lambda x: x / 127.5 - 1)
case('uint8scale', "lambda x: tf.cast(x, tf.float32) / 255.", [('int', 256, 4, 6, 3)],
     lambda x: x / 255.)
case('caffe', '''
def f(x):
    x = x[:, :, :, ::-1]
    mean = np.array([103.939, 116.779, 123.68], dtype='float32').reshape((1, 1, 1, 3))
    x -= mean
    return x
''', [I], lambda x: x[..., ::-1] - np.array([103.939, 116.779, 123.68]))
case('dilate', "lambda x: K.pool2d(x, (3, 3), strides=(1, 1), padding='same', pool_mode='max')", [I],
     lambda x: np.max([np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-9)
                       [:, i:i + 4, j:j + 6] for i in range(3) for j in range(3)], 0),
     eras=KERAS2)
case('maxpooltf', "lambda x: tf.nn.max_pool2d(x, ksize=2, strides=2, padding='SAME')", [I],
     lambda x: x.reshape(3, 2, 2, 3, 2, 3).max((2, 4)), eras=TF2)
case('maxpoolold', "lambda x: tf.nn.max_pool(x, ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], "
     "padding='SAME')", [I], lambda x: x.reshape(3, 2, 2, 3, 2, 3).max((2, 4)))
case('blur', '''
def f(x):
    k = np.array([[1., 2., 1.], [2., 4., 2.], [1., 2., 1.]]) / 16.
    kernel = tf.constant(np.repeat(k[:, :, None, None], 3, axis=2), dtype=tf.float32)
    return tf.nn.depthwise_conv2d(x, kernel, strides=[1, 1, 1, 1], padding='SAME')
''', [I], lambda x: sum(np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))[:, i:i + 4, j:j + 6] *
                        (2 - abs(i - 1)) * (2 - abs(j - 1)) / 16
                        for i in range(3) for j in range(3)))
case('conv', '''
def f(x):
    w = tf.reshape(tf.constant([1., -1., 2.]), (1, 1, 3, 1))
    return tf.nn.conv2d(x, w, strides=[1, 1, 1, 1], padding='VALID')
''', [I], lambda x: (x * np.array([1, -1, 2.])).sum(-1, keepdims=True))
case('kconv1d', '''
def f(x):
    kernel = K.constant(np.ones((3, 4, 1)) / 3.)
    return K.conv1d(x, kernel, padding='valid')
''', [S], lambda x: sum(x[:, i:i + 4] for i in range(3)).sum(-1, keepdims=True) / 3, eras=KERAS2)
case('movingaverage', "lambda x: K.pool2d(K.expand_dims(x, 2), (3, 1), padding='valid', "
     "pool_mode='avg')[:, :, 0]", [S], lambda x: sum(x[:, i:i + 4] for i in range(3)) / 3,
     eras=KERAS2)
case('totalvariation', '''
def f(x):
    a = K.square(x[:, :-1, :-1, :] - x[:, 1:, :-1, :])
    b = K.square(x[:, :-1, :-1, :] - x[:, :-1, 1:, :])
    return K.sum(K.pow(a + b, 1.25), axis=(1, 2, 3))
''', [I], lambda x: (((x[:, :-1, :-1] - x[:, 1:, :-1]) ** 2 +
                      (x[:, :-1, :-1] - x[:, :-1, 1:]) ** 2) ** 1.25).sum((1, 2, 3)))
case('coords', '''
def f(x):
    b = tf.shape(x)[0]
    h, w = x.shape[1], x.shape[2]
    xs = tf.tile(tf.linspace(-1., 1., w)[None, None, :, None], [b, h, 1, 1])
    ys = tf.tile(tf.linspace(-1., 1., h)[None, :, None, None], [b, 1, w, 1])
    return tf.concat([x, xs, ys], axis=-1)
''', [I], lambda x: np.concatenate([x, np.broadcast_to(np.linspace(-1, 1, 6)[:, None],
                                                       (3, 4, 6, 1)),
                                    np.broadcast_to(np.linspace(-1, 1, 4)[:, None, None],
                                                    (3, 4, 6, 1))], -1), eras=TF2)
case('meshgrid', '''
def f(x):
    gx, gy = tf.meshgrid(tf.range(6), tf.range(4))
    grid = tf.stack([gx, gy], axis=-1)
    return x + tf.cast(grid, tf.float32)[None]
''', [(4, 6, 2)], lambda x: x + np.stack(np.meshgrid(range(6), range(4)), -1))
case('groupconvslice', '''
def f(z, groups, i):
    c = z.shape[-1] // groups
    return z[:, :, :, i * c:(i + 1) * c]
''', [(4, 6, 6)], lambda x: x[..., 2:4], arguments={'groups': 3, 'i': 1}, eras=TF2)
case('sumpatches', '''
def f(x):
    parts = [x[:, i::2, j::2, :] for i in (0, 1) for j in (0, 1)]
    return K.concatenate(parts, axis=-1)
''', [I], lambda x: np.concatenate([x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)], -1))

# --- shapes and gathering -----------------------------------------------------------------
case('batchgather', 'lambda t: tf.gather(t[0], t[1], batch_dims=1)', [S, ('int', 6, 2)],
     lambda t: np.take_along_axis(t[0], t[1][..., None], 1), eras=TF2)
case('batchgather2', 'lambda t: tf.gather(t[0], t[1], axis=1, batch_dims=1)', [S, ('int', 6, 2)],
     lambda t: np.take_along_axis(t[0], t[1][..., None], 1), eras=TF2)
case('kgather', 'lambda x: K.gather(K.constant([[1., 2.], [3., 4.], [5., 6.]]), x)',
     [('int', 3, 5)], lambda x: np.array([[1., 2], [3, 4], [5, 6]])[x])
case('lookup', 'lambda x: tf.nn.embedding_lookup(tf.constant([[1., 2.], [3., 4.], [5., 6.]]), x)',
     [('int', 3, 5)], lambda x: np.array([[1., 2], [3, 4], [5, 6]])[x])
case('gathernd', '''
def f(t):
    x, length = t
    rows = tf.range(tf.shape(x)[0])
    idx = tf.stack([rows, length[:, 0] - 1], axis=1)
    return tf.gather_nd(x, idx)
''', [S, ('int', 6, 1)], lambda t: t[0][np.arange(3), t[1][:, 0] - 1] if (t[1] > 0).all() else None)
case('onehotargs', "lambda x: tf.one_hot(x, depth=5, on_value=1., off_value=0., axis=-1)",
     [('int', 5, 4)], lambda x: np.eye(5)[x])
case('onehoteye', 'lambda x: tf.squeeze(tf.one_hot(tf.cast(x, "int64"), 4), axis=1)',
     [('int', 4, 1)], lambda x: np.eye(4)[x[:, 0]])
case('expandtuple', 'lambda x: tf.expand_dims(tf.expand_dims(x, 1), 1)', [V],
     lambda x: x[:, None, None])
case('nonelast', 'lambda x: x[..., None, :] - x[..., :, None]', [V],
     lambda x: x[:, None, :] - x[:, :, None])
case('reshapeneg', 'lambda x: tf.reshape(x, (tf.shape(x)[0], -1, int(x.shape[2]) * 2))', [S],
     lambda x: x.reshape(3, 3, 8))
case('shapelist', '''
def f(x):
    shape = x.get_shape().as_list()
    dim = np.prod(shape[1:])
    return tf.reshape(x, [-1, dim])
''', [I], lambda x: x.reshape(3, -1))
case('ndims', 'lambda x: K.permute_dimensions(x, [0] + list(range(K.ndim(x) - 1, 0, -1)))', [I],
     lambda x: x.transpose(0, 3, 2, 1))
case('rank', 'lambda x: tf.reduce_sum(x, axis=list(range(1, x.shape.rank)))', [I],
     lambda x: x.sum((1, 2, 3)), eras=TF2)
case('shapendims', 'lambda x: K.sum(x, axis=[i for i in range(1, x.shape.ndims)])', [I],
     lambda x: x.sum((1, 2, 3)), eras=['tfk'])
case('staticvalue', 'lambda x: x[:, :x.shape[1].value // 2]', [S], lambda x: x[:, :3],
     eras=['k2raw', 'k2'])
case('tileframes', 'lambda x: K.tile(K.expand_dims(x, 1), (1, 3, 1))', [V],
     lambda x: np.tile(x[:, None], (1, 3, 1)))
case('repeattf', 'lambda x: tf.repeat(x, repeats=2, axis=1)', [S], lambda x: x.repeat(2, 1),
     eras=TF2)
case('broadcastto', 'lambda t: tf.broadcast_to(t[0], tf.shape(t[1])) * t[1]', [(1, 4), S],
     lambda t: t[0] * t[1], eras=TF2)
case('repeatlike', '''
def f(inputs):
    vector, sequence = inputs
    return K.repeat(vector, K.int_shape(sequence)[1])
''', [(2,), S], lambda t: np.repeat(t[0][:, None], 6, 1))
case('parallelstack', 'lambda x: tf.stack(x, axis=1)', [V, V, V], lambda x: np.stack(x, 1))
case('listsum', 'lambda x: tf.add_n(x) / len(x)', [V, V, V], lambda x: sum(x) / 3)
case('unstackk', 'lambda x: [K.squeeze(t, 1) for t in tf.split(x, num_or_size_splits=3, axis=1)]',
     [(3, 4)], lambda x: [x[:, i] for i in range(3)])
case('splitneg', 'lambda x: tf.split(x, [1, -1], -1)[1]', [V], lambda x: x[:, 1:], eras=NEW)
case('swapaxes', 'lambda x: tf.experimental.numpy.swapaxes(x, 1, 2)', [S],
     lambda x: x.transpose(0, 2, 1), eras=['tfk'])
case('rollboth', 'lambda x: tf.roll(x, [1, -1], axis=[1, 2])', [S],
     lambda x: np.roll(x, (1, -1), (1, 2)), eras=NEW)
case('tfpadvalue', 'lambda x: tf.pad(x, [[0, 0], [1, 0]], constant_values=-1.)', [V],
     lambda x: np.pad(x, ((0, 0), (1, 0)), constant_values=-1))
case('symmetric', "lambda x: tf.pad(x, ((0, 0), (1, 1), (2, 2), (0, 0)), 'SYMMETRIC')", [I],
     lambda x: np.pad(x, ((0, 0), (1, 1), (2, 2), (0, 0)), 'symmetric'))
case('diag', 'lambda x: tf.linalg.diag(x)', [V], lambda x: x[:, None] * np.eye(5), eras=TF2)
case('diagpart', 'lambda x: tf.linalg.diag_part(x)', [(5, 5)],
     lambda x: np.einsum('bii->bi', x), eras=TF2)
case('eye', 'lambda x: x + tf.eye(5)', [(5, 5)], lambda x: x + np.eye(5))
case('triu', 'lambda x: tf.linalg.trace(x)', [(5, 5)], lambda x: np.einsum('bii->b', x), eras=TF2)
case('reversesequence', 'lambda x: tf.reverse(x, [-1])', [S], lambda x: x[..., ::-1])
case('negativeindex', 'lambda x: x[:, -3:, -1:]', [S], lambda x: x[:, -3:, -1:])
case('middle', 'lambda x: x[:, K.int_shape(x)[1] // 2, :]', [S], lambda x: x[:, 3])
case('where3', 'lambda x: tf.where(tf.less(x, 0.), x * 0.2, tf.where(x > .5, x * 2, x))', [V],
     lambda x: np.where(x < 0, x * .2, np.where(x > .5, 2 * x, x)))

# --- element by element -----------------------------------------------------------------
case('oldnames', 'lambda x: tf.sub(tf.mul(x, 2.), tf.neg(x))', [V], lambda x: 3 * x, eras=['k1'])
case('divisions', 'lambda x: tf.truediv(x, 3.) + tf.floordiv(x, 0.5) + tf.div(x, 2.)', [V],
     lambda x: x / 3 + x // .5 + x / 2, eras=TF1)
case('rsqrt', 'lambda x: x * tf.rsqrt(tf.reduce_sum(tf.square(x), -1, keepdims=True) + 1e-8)', [S],
     lambda x: x / np.sqrt((x * x).sum(-1, keepdims=True) + 1e-8), eras=['k2raw', 'k2'])
case('pixelnorm', 'lambda x: x * tf.math.rsqrt(tf.reduce_mean(tf.math.square(x), axis=-1, '
     'keepdims=True) + 1e-8)', [S], lambda x: x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-8),
     eras=TF2)
case('logs', 'lambda x: tf.math.log1p(tf.abs(x)) + tf.math.expm1(x) + tf.math.log(2. + x)', [V],
     lambda x: np.log1p(abs(x)) + np.expm1(x) + np.log(2 + x), eras=NEW)
case('log10', 'lambda x: 10. * tf.math.log(tf.abs(x) + 1e-3) / tf.math.log(tf.constant(10.))', [V],
     lambda x: 10 * np.log10(abs(x) + 1e-3), eras=TF2)
case('trig', 'lambda x: tf.atan2(x, 2.) + tf.tan(x) + tf.asin(x) + tf.sinh(x) + tf.atan(x)', [V],
     lambda x: np.arctan2(x, 2) + np.tan(x) + np.arcsin(x) + np.sinh(x) + np.arctan(x))
case('rounding', 'lambda x: tf.floor(x * 3) + tf.math.ceil(x * 5) + tf.round(x * 7) + tf.sign(x)',
     [V], lambda x: np.floor(x * 3) + np.ceil(x * 5) + np.round(x * 7) + np.sign(x), eras=NEW)
case('mods', 'lambda x: tf.math.floormod(x, 0.3) + tf.math.mod(x, 0.7)', [V],
     lambda x: x % np.float32(.3) + x % np.float32(.7), eras=TF2)
case('erf', 'lambda x: 0.5 * x * (1.0 + tf.math.erf(x / tf.sqrt(2.0)))', [V],
     lambda x: np.array([[.5 * v * (1 + __import__('math').erf(v / 2 ** .5)) for v in r]
                         for r in x]), eras=NEW)
case('selu', 'lambda x: tf.nn.selu(x) + tf.nn.elu(x) + tf.nn.softsign(x) + tf.nn.relu6(x * 9)',
     [V], lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)) +
     np.where(x > 0, x, np.expm1(x)) + x / (1 + abs(x)) + np.clip(9 * x, 0, 6), eras=NEW)
case('swishes', 'lambda x: tf.nn.swish(x) + tf.nn.silu(x) + tf.nn.gelu(x, approximate=True)', [V],
     lambda x: 2 * x * sigmoid(x) + .5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) *
                                                          (x + .044715 * x ** 3))), eras=['tfk'])
case('hardsigmoids', 'lambda x: K.hard_sigmoid(x * 3) + tf.nn.softplus(x) + tf.sigmoid(x)', [V],
     lambda x: np.clip(.6 * x + .5, 0, 1) + np.log1p(np.exp(x)) + sigmoid(x), eras=OLD)
case('logsoftmax', 'lambda x: tf.nn.log_softmax(x) - K.log(K.softmax(x, axis=1))', [S],
     lambda x: np.log(softmax(x)) - np.log(softmax(x, 1)), eras=['k2', 'tfk'])
case('temperature', 'lambda x, temperature=0.5: K.softmax(K.log(K.abs(x) + 1e-7) / temperature)',
     [V], lambda x: softmax(np.log(abs(x) + 1e-7) / .5))
case('krelu', 'lambda x: K.relu(x, alpha=0.3) + K.relu(x, 0.1, 0.5)', [V],
     lambda x: np.where(x > 0, x, .3 * x) + np.where(x > 0, np.minimum(x, .5), .1 * x), eras=OLD)
case('threshold', "lambda x: tf.cast(tf.greater_equal(x, 0.1), 'float32')", [V],
     lambda x: (x >= np.float32(.1)) * 1.)
case('tofloat', 'lambda x: tf.to_float(x) * 0.5 + tf.to_float(tf.to_int32(x))', [('int', 9, 4)],
     lambda x: x * 1.5, eras=TF1)
case('logicals', 'lambda x: tf.cast(tf.logical_and(x > 0, tf.logical_not(x > .5)), tf.float32) + '
     'tf.cast(tf.logical_or(x < -.5, x > .7), tf.float32)', [V],
     lambda x: ((x > 0) & (x <= .5)) * 1. + ((x < -.5) | (x > .7)))
case('minmax', 'lambda x: (x - K.min(x, axis=1, keepdims=True)) / (K.max(x, axis=1, keepdims=True)'
     ' - K.min(x, axis=1, keepdims=True) + K.epsilon())', [V],
     lambda x: (x - x.min(1, keepdims=True)) / (np.ptp(x, axis=1)[:, None] + 1e-7))
case('tanhaction', '''
def f(x, low=[-2., -1., 0., -1., -3.], high=[2., 1., 4., 1., 3.]):
    low = np.array(low)
    high = np.array(high)
    return low + (high - low) * (K.tanh(x) + 1.) / 2.
''', [V], lambda x: (lambda l, h: l + (h - l) * (np.tanh(x) + 1) / 2)(
    np.array([-2, -1, 0, -1, -3.]), np.array([2, 1, 4, 1, 3.])))
case('signedsqrt', 'lambda x: K.sign(x) * K.sqrt(K.abs(x) + 1e-9)', [V],
     lambda x: np.sign(x) * np.sqrt(abs(x) + 1e-9))
case('clipnone', 'lambda x: K.clip(x, 0., 1.) + tf.minimum(x, 0.2) + K.minimum(x, 1.)', [V],
     lambda x: np.clip(x, 0, 1) + np.minimum(x, .2) + x)
case('isnan', 'lambda x: tf.where(tf.math.is_nan(x), tf.zeros_like(x), x)', [V], lambda x: x,
     eras=TF2)
case('foreverzero', 'lambda x: x[:, :1] * 0 + 1', [V], lambda x: x[:, :1] * 0 + 1)
case('identity', 'lambda x: tf.identity(x, name="heat")', [V], lambda x: x)
case('stopit', 'lambda x: tf.stop_gradient(x) + K.stop_gradient([x])[0]', [V], lambda x: 2 * x,
     eras=['k2', 'tfk'])
case('antirectifier', '''
def f(x):
    x -= K.mean(x, axis=1, keepdims=True)
    x = K.l2_normalize(x, axis=1)
    pos = K.relu(x)
    neg = K.relu(-x)
    return K.concatenate([pos, neg], axis=1)
''', [V], lambda x: (lambda y: np.concatenate([np.maximum(y, 0), np.maximum(-y, 0)], 1))(
    normal(x - x.mean(1, keepdims=True), 1)))
