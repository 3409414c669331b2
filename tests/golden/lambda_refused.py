"""Lambda layers that cannot be translated, and why."""

V = (5,)

# Name, source, shapes of the inputs, and what the message says, one of several
# between "|".
REFUSED = [
    ('random', 'lambda x: x + K.random_normal(K.shape(x))', [V], 'draws random numbers'),
    ('sampling', '''
def f(args):
    z_mean, z_log_sigma = args
    epsilon = K.random_normal(shape=(K.shape(z_mean)[0], 5), mean=0., stddev=1.0)
    return z_mean + K.exp(z_log_sigma / 2) * epsilon
''', [V, V], 'K.random_normal'),
    ('dropout', 'lambda x: K.dropout(x, 0.5)', [V], 'draws random numbers'),
    ('nprandom', 'lambda x: x * np.random.rand()', [V], 'draws random numbers'),
    ('unknownname', 'lambda x: x * my_scale + offset', [V], 'my_scale, which the file does not hold'),
    ('unknownfunction', 'lambda x: helper(K.square(x), 3)', [V], 'helper, which the file does not hold'),
    ('databranch', '''
def f(x):
    if K.sum(x) > 0:
        return x
    return -x
''', [V], 'depends on the data'),
    ('masked', 'lambda x: x[x > 0]', [V], 'selects by a mask'),
    ('endless', '''
def f(x):
    while True:
        x = x + 1
''', [V], 'operations|steps'),
    ('endlesscount', '''
def f(x):
    n = 0
    while n < 10:
        n -= 1
    return x
''', [V], 'steps'),
    ('deep', '''
def f(x):
    def g(y):
        return g(y)
    return g(x)
''', [V], 'too deeply'),
    ('longrange', 'lambda x: sum(i for i in range(10 ** 9)) + x', [V], 'range is too long'),
    ('growth', '''
def f(x):
    l = [1]
    while True:
        l = l + l
''', [V], 'too many values|too long'),
    ('textgrowth', '''
def f(x):
    s = 'ab'
    while True:
        s = s + s
''', [V], 'too long'),
    ('selfholding', '''
def f(x):
    l = [1]
    l.append(l)
    return K.stack(l)
''', [V], 'nested too deeply|too large'),
    ('bigpower', 'lambda x: x * n ** n ** n', [V], 'n, which'),
    ('bigpower2', '''
def f(x):
    n = 10
    return x * n ** n ** n
''', [V], 'fit 64 bits'),
    ('bigconstants', '''
def f(x):
    y = K.zeros((1000, 1000))
    for i in range(1000):
        y = y + 1
    return x + K.sum(y)
''', [V], 'constants are too large|operations'),
    ('raises', '''
def f(x):
    raise ValueError('no')
''', [V], 'raises'),
    ('returnsnone', '''
def f(x):
    y = x + 1
''', [V], 'returns None'),
    ('unknownop', 'lambda x: tf.py_func(abs, [x], tf.float32)', [V], 'unsupported function'),
    ('imports', '''
def f(x):
    import os
    os.system('echo')
    return x
''', [V], 'imports os'),
    ('opened', 'lambda x: open("/etc/passwd").read()', [V], 'open, which'),
    ('mapfn', 'lambda x: tf.map_fn(lambda r: r * 2, x)', [V], 'unsupported function'),
    ('badaxis', 'lambda x: K.sum(x, axis=5)', [V], 'sum'),
    ('wrongunpack', '''
def f(x):
    a, b, c = x
    return a
''', [V, V], 'unpacks 2 values into 3'),
    ('missing', 'lambda x, scale: x * scale', [V], 'argument scale is missing'),
    ('className', '''
def f(x):
    class A(object):
        pass
    return x
''', [V], ''),
]
