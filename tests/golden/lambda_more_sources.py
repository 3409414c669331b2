"""More of what people write into Lambda layers; see lambda_sources.py."""
import numpy as np

from lambda_sources import OLD, TF1, TF2, I, S, V, case, normal, softmax

case('resizelike', 'lambda t: tf.image.resize_bilinear(t[0], tf.shape(t[1])[1:3])',
     [(2, 3, 2), (2, 3, 5)], lambda t: t[0], eras=TF1)
case('resizelike2', 'lambda t: tf.image.resize(t[0], [t[1].shape[1], t[1].shape[2]])',
     [(4, 6, 2), (4, 6, 5)], lambda t: t[0], eras=TF2)
case('trainphase', 'lambda x: K.in_train_phase(K.dropout(x, 0.5), x)', [V], lambda x: x, eras=OLD)
case('noiseoff', '''
def f(x, training=None):
    noise = K.random_normal(K.shape(x))
    return K.in_train_phase(x + noise, x, training=training)
''', [V], lambda x: x, eras=OLD)
case('ktf', 'lambda x: K.tf.nn.relu(x) + K.tf.square(x)', [V], lambda x: np.maximum(x, 0) + x * x,
     eras=TF1)
case('nparray', '''
def f(x):
    kernel = np.array([[1, 2], [3, 4]]).reshape((4,))[::-1].astype('float32')
    return x[:, :4] * kernel
''', [V], lambda x: x[:, :4] * np.array([4, 3, 2, 1.]))
case('npsize', 'lambda x: K.reshape(x, (-1, int(np.prod(K.int_shape(x)[1:]))))', [S],
     lambda x: x.reshape(3, 24))
case('ceilhalf', 'lambda x: x[:, :int(np.ceil(x.shape.as_list()[1] / 4.))]', [S],
     lambda x: x[:, :2], eras=OLD)
case('dtypecast', 'lambda x: K.cast(x > 0, x.dtype) * tf.cast(x, dtype=tf.float32)', [V],
     lambda x: np.maximum(x, 0))
case('onesshape', 'lambda x: x + tf.ones([tf.shape(x)[0], 5]) + tf.zeros(tf.shape(x))', [V],
     lambda x: x + 1)
case('rangeembed',
     'lambda x: x + K.cast(K.expand_dims(K.arange(0, K.int_shape(x)[1]), -1), "float32")', [S],
     lambda x: x + np.arange(6)[:, None])
case('linspace', 'lambda x: x * tf.linspace(0., 1., 5)', [V], lambda x: x * np.linspace(0, 1, 5))
case('positional', '''
def f(x):
    pos = np.arange(6)[:, np.newaxis] / np.power(100.0, np.arange(4)[np.newaxis, :] / 4.)
    return x + K.constant(np.sin(pos))
''', [S], lambda x: x + np.sin(np.arange(6)[:, None] / 100. ** (np.arange(4)[None] / 4)))
case('softargmax', '''
def f(x, beta=10.):
    p = K.softmax(x * beta)
    idx = K.cumsum(K.ones_like(x), axis=-1) - 1.
    return K.sum(p * idx, axis=-1, keepdims=True)
''', [V], lambda x: (softmax(x * 10) * np.arange(5)).sum(-1, keepdims=True))
case('gram', '''
def f(x):
    b, h, w, c = [int(d) if d is not None else -1 for d in K.int_shape(x)]
    x = K.reshape(x, (b, h * w, c))
    return K.batch_dot(K.permute_dimensions(x, (0, 2, 1)), x) / (h * w)
''', [I], lambda x: (lambda y: y.transpose(0, 2, 1) @ y / 24)(x.reshape(3, 24, 3)), eras=OLD)
case('meanvar', 'lambda x: tf.nn.moments(x, axes=[1, 2])[1]', [I], lambda x: x.var((1, 2)))
case('instancenorm', '''
def f(x):
    mean, var = tf.nn.moments(x, [1, 2], keep_dims=True)
    return (x - mean) / tf.sqrt(var + 1e-3)
''', [I], lambda x: (x - x.mean((1, 2), keepdims=True)) /
     np.sqrt(x.var((1, 2), keepdims=True) + 1e-3), eras=TF1)
case('l2tf', 'lambda x: tf.nn.l2_normalize(x, dim=-1)', [V], lambda x: normal(x, -1), eras=TF1)
case('kpool', "lambda x: K.pool2d(x, (2, 2), strides=(2, 2), pool_mode='avg')", [I],
     lambda x: x.reshape(3, 2, 2, 3, 2, 3).mean((2, 4)), eras=['k2', 'tfk'])
case('gatheraxis', 'lambda x: tf.gather(x, [0, 3], axis=1)', [S], lambda x: x[:, [0, 3]],
     eras=['k2', 'tfk', 'k3'])
case('booleans',
     'lambda x: K.cast(K.any(K.not_equal(x, 0), axis=-1, keepdims=True), "float32") * x', [S],
     lambda x: x)
case('clipped', 'lambda x: tf.clip_by_value(x, -0.5, 0.5) + K.clip(x, 0, None)', [V],
     lambda x: np.clip(x, -.5, .5) + np.maximum(x, 0), eras=['tfk'])
case('mergelayers',
     'lambda x: keras.layers.concatenate([keras.layers.add(x), keras.layers.multiply(x)])', [V, V],
     lambda x: np.concatenate([x[0] + x[1], x[0] * x[1]], -1), eras=['k2', 'tfk', 'k3'])
case('sqdist', '''
def f(inputs):
    a, b = inputs
    a = tf.expand_dims(a, 2)
    b = tf.expand_dims(b, 1)
    return tf.reduce_sum(tf.squared_difference(a, b), axis=-1)
''', [(3, 4), (5, 4)], lambda t: ((t[0][:, :, None] - t[1][:, None]) ** 2).sum(-1),
     eras=['k2raw', 'k2', 'tfk'])
case('twotypes', 'lambda x: K.cast(x[0], "float32") * x[1]', [('int', 5, 4), (4,)],
     lambda x: x[0] * x[1])
case('dictvalue', 'lambda x: {"a": x, "b": 2 * x}["b"]', [V], lambda x: 2 * x)
case('stopgrad', 'lambda x: x + K.stop_gradient(K.round(x) - x)', [V], lambda x: np.round(x))
case('binarise', 'lambda x: tf.where(tf.greater(x, 0.), tf.ones_like(x), tf.zeros_like(x))', [V],
     lambda x: (x > 0) * 1.)
case('tfpadtime', "lambda x: tf.pad(x, tf.constant([[0, 0], [2, 0], [0, 0]]), 'CONSTANT')", [S],
     lambda x: np.pad(x, ((0, 0), (2, 0), (0, 0))))
case('temporalpad', 'lambda x: K.temporal_padding(x, (1, 2))', [S],
     lambda x: np.pad(x, ((0, 0), (1, 2), (0, 0))), eras=['k2', 'tfk'])
case('matmulconst',
     'lambda x: tf.matmul(x, tf.constant([[1., 0.], [0., 1.], [1., 1.], [2., 0.], [0., 2.]]))',
     [V], lambda x: x @ np.array([[1., 0], [0, 1], [1, 1], [2, 0], [0, 2]]))
case('opsshape', 'lambda x: keras.ops.reshape(x, (keras.ops.shape(x)[0], -1))', [S],
     lambda x: x.reshape(3, -1), eras=['k3'])
case('mergemode', 'lambda x: x[0] - x[1] ** 2', [V, V], lambda x: x[0] - x[1] ** 2)
