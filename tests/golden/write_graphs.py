#!/usr/bin/python3
"""write_graphs.py FOLDER: random graphs, as each era of Keras wires and stores them.

Shared layers, nested models (shared, frozen, with several inputs and outputs), nested
Sequentials, outputs that are inputs of others: what is drawn is evaluated in NumPy and
written with the node indices, argument names and orders of weights of the era.
"""
import os
import sys

import numpy as np

import plain_layers as plain
from keras_file import save_case, write

FOLDER = sys.argv[1]
RANDOM = np.random.RandomState(23)
ERAS = {'1.2.2': 'tensorflow', '2.1.6': 'tensorflow', '2.2.4': 'tensorflow', '2.3.1': 'cntk',
        '2.4.0': 'tensorflow', '2.9.0': 'tensorflow', '3.0.5': 'tensorflow', '3.8.0': 'torch'}
GRAPHS_OF_AN_ERA = 25


def array(*shape):
    return np.round(RANDOM.uniform(-1, 1, shape), 3).astype('f4')


class Layer:
    """What is called: function takes and gives lists of arrays; weights: (role, array)."""

    def __init__(self, kind, name, function, width, config=None, trained=(), fixed=(), graph=None):
        self.kind, self.name, self.function, self.width = kind, name, function, width
        self.config, self.graph = config or {}, graph
        self.trained, self.fixed = list(trained), list(fixed)
        self.trainable = RANDOM.rand() > 0.25
        self.calls = []


class Graph:
    def __init__(self, widths, prefix, depth, sequential=False):
        self.prefix, self.depth, self.sequential = prefix, depth, sequential
        self.layers, self.inputs, self.values = [], [], []
        self.count = 0
        for width in widths:
            layer = Layer('InputLayer', self.name('in'), None, [width])
            layer.calls.append([])
            self.layers.append(layer)
            self.inputs.append((layer, 0, 0))
        self.values = list(self.inputs)

    def name(self, kind):
        self.count += 1
        return '%s%s_%d' % (self.prefix, kind, self.count)

    def call(self, layer, sources):
        if layer not in self.layers:
            self.layers.append(layer)
        layer.calls.append(sources)
        made = [(layer, len(layer.calls) - 1, k) for k in range(len(layer.width))]
        self.values += made
        return made

    def run(self, arrays):
        known = dict(zip([(v[0].name, v[1], v[2]) for v in self.inputs], arrays))

        def value(ref):
            layer, call, tensor = ref
            key = (layer.name, call, tensor)
            if key not in known:
                results = layer.function([value(source) for source in layer.calls[call]])
                for k, result in enumerate(results):
                    known[(layer.name, call, k)] = result
            return known[key]

        return [value(ref) for ref in self.outputs]

    def ordered_weights(self):
        """(trainable, others), each in the order of the layers."""
        trained, others = [], []
        for layer in self.layers:
            a, b = weights_of(layer)
            trained += a
            others += b
        return trained, others


def weights_of(layer):
    if layer.graph is not None:
        return layer.graph.ordered_weights()
    mine = [(layer.name, role, value) for role, value in layer.trained]
    fixed = [(layer.name, role, value) for role, value in layer.fixed]
    return (mine, fixed) if layer.trainable else ([], mine + fixed)


# --- drawing ---

def dense(graph, width):
    units = int(RANDOM.randint(2, 6))
    activation = ['linear', 'relu', 'tanh', 'sigmoid'][RANDOM.randint(4)]
    kernel, bias = array(width, units), array(units)
    return Layer('Dense', graph.name('dense'),
                 lambda x: [plain.act(activation)(x[0] @ kernel + bias)], [units],
                 dict(units=units, activation=activation, use_bias=True),
                 [('kernel', kernel), ('bias', bias)])


def batch_norm(graph, width):
    gamma, beta, mean, variance = (array(width), array(width), array(width),
                                   array(width) ** 2 + 0.5)
    return Layer('BatchNormalization', graph.name('bn'),
                 lambda x: [plain.batch_norm(x[0], gamma, beta, mean, variance, 1e-3)], [width],
                 dict(epsilon=1e-3, axis=-1), [('gamma', gamma), ('beta', beta)],
                 [('mean', mean), ('variance', variance)])


def activation(graph, width):
    name = ['relu', 'tanh', 'softsign', 'softmax'][RANDOM.randint(4)]
    return Layer('Activation', graph.name('act'), lambda x: [plain.act(name)(x[0])], [width],
                 dict(activation=name))


def dropout(graph, width):
    return Layer('Dropout', graph.name('drop'), lambda x: [x[0]], [width], dict(rate=0.4))


def nested(graph, widths):
    """A model or a Sequential as a layer."""
    prefix = graph.name('m') + '_'
    if len(widths) == 1 and RANDOM.rand() < 0.5:
        inner = Graph(widths, prefix, graph.depth + 1, sequential=True)
        for _ in range(RANDOM.randint(1, 4)):
            width = inner.values[-1][0].width[0]
            inner.call(plain_layer(inner, width), [inner.values[-1]])
        inner.outputs = [inner.values[-1]]
    else:
        inner = Graph(widths, prefix, graph.depth + 1)
        grow(inner, RANDOM.randint(2, 5))
    kind = 'Sequential' if inner.sequential else 'Model'
    return Layer(kind, prefix[:-1], inner.run, [ref[0].width[ref[2]] for ref in inner.outputs],
                 graph=inner)


def plain_layer(graph, width):
    make = [dense, dense, batch_norm, activation, dropout][RANDOM.randint(5)]
    return make(graph, width)


MERGES = {'Add': sum, 'Multiply': lambda x: np.prod(x, 0), 'Average': lambda x: sum(x) / len(x),
          'Maximum': lambda x: np.max(x, 0), 'Concatenate': lambda x: np.concatenate(x, -1)}


def merge(graph):
    chosen = [graph.values[i] for i in RANDOM.randint(len(graph.values), size=RANDOM.randint(2, 4))]
    widths = [ref[0].width[ref[2]] for ref in chosen]
    kinds = list(MERGES) if len(set(widths)) == 1 else ['Concatenate']
    kind = kinds[RANDOM.randint(len(kinds))]
    width = sum(widths) if kind == 'Concatenate' else widths[0]
    layer = Layer(kind, graph.name('merge'), lambda x: [MERGES[kind](x)], [width],
                  dict(axis=-1) if kind == 'Concatenate' else {})
    return graph.call(layer, chosen)


def again(graph):
    """A layer that is there already, called once more."""
    for i in RANDOM.permutation(len(graph.layers)):
        layer = graph.layers[i]
        if layer.kind == 'InputLayer' or len(layer.calls[0]) != 1 or layer.calls == []:
            continue
        source = layer.calls[0][0]
        width = source[0].width[source[2]]
        fitting = [v for v in graph.values if v[0].width[v[2]] == width]
        return graph.call(layer, [fitting[RANDOM.randint(len(fitting))]])
    return None


def grow(graph, count):
    for _ in range(count):
        ref = graph.values[RANDOM.randint(len(graph.values))]
        width = ref[0].width[ref[2]]
        kind = RANDOM.rand()
        if kind < 0.2:
            merge(graph)
        elif kind < 0.4 and again(graph):
            pass
        elif kind < 0.6 and graph.depth < 2:
            sources = [ref] + [graph.values[i] for i in RANDOM.randint(
                len(graph.values), size=RANDOM.randint(0, 2))]
            graph.call(nested(graph, [v[0].width[v[2]] for v in sources]), sources)
        else:
            graph.call(plain_layer(graph, width), [ref])
    used = {(v[0].name, v[1], v[2]) for layer in graph.layers for call in layer.calls for v in call}
    loose = [v for v in graph.values if (v[0].name, v[1], v[2]) not in used
             and v[0].kind != 'InputLayer']
    graph.outputs = loose[:3] or [graph.values[-1]]
    prune(graph)


def prune(graph):
    """Keras keeps only what leads to the outputs, and renumbers the calls."""
    needed, stack = set(), list(graph.outputs)
    while stack:
        layer, call, _ = stack.pop()
        if (layer.name, call) not in needed:
            needed.add((layer.name, call))
            stack += layer.calls[call]
    number = {}
    for layer in graph.layers:
        kept = [i for i in range(len(layer.calls)) if (layer.name, i) in needed
                or layer.kind == 'InputLayer']
        number.update({(layer.name, old): new for new, old in enumerate(kept)})
        layer.calls = [layer.calls[i] for i in kept]
    graph.layers = [layer for layer in graph.layers if layer.calls]

    def renumber(ref):
        return ref[0], number[(ref[0].name, ref[1])], ref[2]

    for layer in graph.layers:
        layer.calls = [[renumber(ref) for ref in call] for call in layer.calls]
    graph.outputs = [renumber(ref) for ref in graph.outputs]


# --- writing ---

KERAS1 = {'Add': ('Merge', {'mode': 'sum'}), 'Multiply': ('Merge', {'mode': 'mul'}),
          'Average': ('Merge', {'mode': 'ave'}), 'Maximum': ('Merge', {'mode': 'max'}),
          'Concatenate': ('Merge', {'mode': 'concat', 'concat_axis': -1})}
ROLES = {'1': {'kernel': '%s_W:0', 'bias': '%s_b:0', 'gamma': '%s_gamma:0', 'beta': '%s_beta:0',
               'mean': '%s_running_mean:0', 'variance': '%s_running_std:0'},
         '2': {'mean': '%s/moving_mean:0', 'variance': '%s/moving_variance:0'},
         '3': {'mean': 'outer/%s/moving_mean', 'variance': 'outer/%s/moving_variance'}}


def stored_name(era, layer, role):
    usual = {'1': '%s_' + role, '2': '%s/' + role + ':0', '3': 'outer/%s/' + role}[era[0]]
    return ROLES[era[0]].get(role, usual) % layer


def offset(layer, era, output):
    """Where the indices of the calls of a nested model start."""
    if layer.kind == 'Model':
        return 1 if era < '3' or output else 0
    if layer.kind == 'Sequential':
        return 1 if era < '3' else 0
    return 0


def reference(ref, era, output=False):
    return [ref[0].name, ref[1] + offset(ref[0], era, output), ref[2]]


def call_of(sources, era):
    if era >= '3':
        tensors = [{'class_name': '__keras_tensor__', 'config': {
            'shape': [None, ref[0].width[ref[2]]], 'dtype': 'float32',
            'keras_history': reference(ref, era)}} for ref in sources]
        return {'args': tensors if len(tensors) == 1 else [tensors], 'kwargs': {}}
    return [reference(ref, era) + ([{}] if era >= '2' else []) for ref in sources]


def config_of(layer, era):
    config = dict(layer.config, name=layer.name, trainable=layer.trainable)
    if era < '2':
        renames = {'units': 'output_dim', 'use_bias': 'bias', 'rate': 'p'}
        config = {renames.get(key, key): value for key, value in config.items()}
        if layer.kind in KERAS1:
            config.pop('axis', None)
            config.update(KERAS1[layer.kind][1], mode_type='raw', dot_axes=-1)
        if layer.kind == 'BatchNormalization':
            config.update(mode=0, momentum=0.99)
    if layer.kind == 'InputLayer':
        config.update({'batch_shape' if era >= '3' else 'batch_input_shape':
                       [None] + layer.width, 'input_dtype' if era < '2' else 'dtype': 'float32'})
    return config


def entry_of(layer, era):
    if layer.graph is None:
        class_name = KERAS1[layer.kind][0] if era < '2' and layer.kind in KERAS1 else layer.kind
        entry = {'class_name': class_name, 'config': config_of(layer, era)}
    elif layer.graph.sequential:
        entry = {'class_name': 'Sequential', 'config': sequential(layer.graph, layer.name, era)}
    else:
        entry = {'class_name': model_class(era), 'config': graph_config(layer.graph, layer.name,
                                                                         era)}
    return dict(entry, name=layer.name, inbound_nodes=[
        call_of(call, era) for call in layer.calls if call])


def model_class(era):
    return 'Functional' if '2.4' <= era else 'Model'


def sequential(graph, name, era):
    layers = [{'class_name': layer.kind, 'config': config_of(layer, era)}
              for layer in graph.layers]
    if era < '2.4':
        layers[1]['config']['batch_input_shape'] = layers[0]['config']['batch_input_shape']
        layers = layers[1:]
    return layers if era < '2.2.3' else {'name': name, 'layers': layers}


def graph_config(graph, name, era):
    return {'name': name, 'layers': [entry_of(layer, era) for layer in graph.layers],
            'input_layers': [reference(ref, era) for ref in graph.inputs],
            'output_layers': [reference(ref, era, True) for ref in graph.outputs]}


def main():
    os.makedirs(FOLDER, exist_ok=True)
    for era, backend in ERAS.items():
        for number in range(GRAPHS_OF_AN_ERA):
            graph = Graph([int(w) for w in RANDOM.randint(2, 6, RANDOM.randint(1, 4))], '', 0)
            grow(graph, RANDOM.randint(3, 10))
            inputs = [array(3, ref[0].width[0]) for ref in graph.inputs]
            groups = []
            for layer in graph.layers:
                trained, others = weights_of(layer)
                groups.append((layer.name, [(stored_name(era, owner, role), value)
                                            for owner, role, value in trained + others]))
            name = 'graph_%s_%02d' % (era, number)
            write('%s/%s.h5' % (FOLDER, name), era, backend if era >= '2' else None,
                  {'class_name': model_class(era), 'config': graph_config(graph, 'model', era)},
                  groups)
            save_case(FOLDER, name, inputs, graph.run(inputs))


main()
