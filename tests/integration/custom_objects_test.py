#!/usr/bin/python3
"""Definitions of custom objects: alias, expression, graph, plug-in; refused, served, reloaded."""
import json
import os
import shutil
import signal
import tarfile
import unittest

import h5py
import numpy as np

from daemon import ROOT, Daemon, wait_until
from model_case import ModelCase
from model_files import layer, write

RANDOM = np.random.default_rng(5)
CASES = os.path.join(ROOT, 'tests', 'golden', 'cases', 'custom-objects.tar.xz')


def values(*shape):
    return RANDOM.normal(size=shape).astype('float32')


class CustomObjectsTest(ModelCase):

    # --- the founding question ---

    def founding(self):
        with tarfile.open(CASES) as archive:
            archive.extractall(self.folder)
        return [('custom_model', 'MyCustomLayer'), ('custom_model_with_config',
                                                    'MyCustomLayerWithConfig')]

    def test_the_founding_question_is_answered(self):
        for case, name in self.founding():
            for version in ('2.1.6', '2.3.1', '3.15.1'):
                with self.subTest(case, version=version):
                    stem = self.path('%s-keras%s' % (case, version))
                    servable, found = self.check(stem + '.h5')
                    self.assertFalse(servable)
                    message = found['UNKNOWN_LAYER']['message']
                    self.assertIn('is of class %s' % name, message)
                    self.assertIn('no weights', message)
                    self.assertIn('layer #1 ', message)
                    if version == '3.15.1' or 'with_config' in case:
                        self.assertIn('"units":64', message)
                    # The remedy is ready to paste.
                    remedy = found['UNKNOWN_LAYER']['remedies'][0]
                    pasted = json.loads(remedy[remedy.index('{'):])
                    with np.load(stem + '.in.npz') as inputs, np.load(stem + '.out.npz') as wanted:
                        for objects in ({name: {'layer': 'Identity'}}, {name: {'expression': 'x'}},
                                        pasted):
                            got, = self.predict(stem + '.h5', [inputs['i0']], objects)
                            np.testing.assert_allclose(got, wanted['o0'], rtol=1e-5, atol=1e-6)

    def test_the_unbuilt_model_is_refused_for_all_its_reasons(self):
        self.founding()
        servable, found = self.check(self.path('custom_model_unbuilt-keras3.15.1.h5'))
        self.assertFalse(servable)
        self.assertLessEqual({'UNKNOWN_LAYER', 'UNBUILT_MODEL'}, set(found))
        _, found = self.check(self.path('custom_model_unbuilt-keras3.15.1.h5'),
                              {'MyCustomLayer': {'layer': 'Identity'}})
        self.assertNotIn('UNKNOWN_LAYER', found)
        self.assertIn('UNBUILT_MODEL', found)

    def ask(self, daemon, values):
        """The answer's rows, or None while there is none."""
        status, text = daemon.get('/v1/models/m:predict',
                                  json.dumps({'instances': values}).encode())
        return json.loads(text)['predictions'] if status == 200 else None

    def test_a_model_is_reloaded_when_its_definition_changes(self):
        model = write(self.path('m.h5'), [layer('Doubler', {'factor': 2})], (2,))
        with Daemon() as daemon:
            os.makedirs(os.path.join(daemon.models, 'm'))
            settings = os.path.join(daemon.models, 'm', 'model.json')
            daemon.install(model, 'm/1.h5')
            wait_until(lambda: daemon.metric('h5serve_model_loads_total', model='m',
                                             reason='UNKNOWN_LAYER') > 0, 'the refusal')
            for expression, answer in (('x * factor', [[2, 4]]), ('x * factor + 1', [[3, 5]])):
                shutil.move(self.write_json('model.json', {'custom_objects': {
                    'Doubler': {'expression': expression}}}), settings)
                wait_until(lambda: self.ask(daemon, [[1, 2]]) == answer, expression)
            # A definition that is wrong leaves the old version in service.
            shutil.move(self.write_json('model.json', {'custom_objects': {
                'Doubler': {'expression': 'x * factor ('}}}), settings)
            wait_until(lambda: daemon.metric('h5serve_model_loads_total', model='m',
                                             reason='CUSTOM_DEFINITION_INVALID') > 0, 'the refusal')
            self.assertEqual([[3, 5]], self.ask(daemon, [[1, 2]]))

    def test_definitions_of_the_server_are_read_again(self):
        model = write(self.path('m.h5'), [layer('Doubler', {'factor': 2})], (2,))
        objects = self.write_json('server.json', {'Doubler': {'expression': 'x * factor'}})
        with Daemon('--custom-objects', objects) as daemon:
            daemon.install(model, 'm.h5')
            wait_until(lambda: self.ask(daemon, [[1, 2]]) == [[2, 4]], 'the first definition')
            self.write_json('server.json', {'Doubler': {'expression': 'x - factor'}})
            daemon.process.send_signal(signal.SIGHUP)
            wait_until(lambda: self.ask(daemon, [[1, 2]]) == [[-1, 0]], 'the second definition')

    # --- names ---

    def test_names_with_and_without_package_and_module(self):
        x = values(2, 3)
        entry = {'module': 'my.module', 'registered_name': 'pack>Half'}
        for name in ('Half', 'pack>Half', 'my.module.Half', 'my.module>Half'):
            self.expect([layer('Half', **entry)], [x], x / 2, {name: {'expression': 'x / 2'}})
        self.expect([layer('pack>Half')], [x], x / 2, {'Half': {'expression': 'x / 2'}})
        self.expect([layer('pack>Half')], [x], x / 2, {
            'Half': {'expression': 'x / 3'}, 'pack>Half': {'expression': 'x / 2'}})
        self.refused([layer('pack>Half')], [(3,)], {'other>Half': {'expression': 'x'}},
                     'UNKNOWN_LAYER')

    def test_functions_and_activations(self):
        x, kernel = values(2, 3), values(3, 4)
        dense = layer('Dense', {'units': 4, 'activation': 'twice', 'use_bias': False},
                      [('custom_1/kernel', kernel)])
        self.expect([dense], [x], 2 * (x @ kernel), {'twice': {'expression': 'x + x'}})
        dense['config']['activation'] = 'swish'
        self.expect([dense], [x], 3 * (x @ kernel), {'swish': {'expression': '3 * x'}})
        dense['config']['activation'] = 'nobody_knows'
        found = self.refused([dense], [(3,)], None, 'UNKNOWN_ACTIVATION')
        self.assertIn('{"custom_objects": {"nobody_knows": {"expression": "…"}}}',
                      found['remedies'][0])

    def test_lambda_layers_by_their_name_and_their_functions(self):
        x = values(2, 3)
        one = layer('Lambda', {'function': 'double_it', 'function_type': 'function',
                               'arguments': {'by': 2}}, name='times')
        self.refused([one], [(3,)], None, 'LAMBDA_NAMED_FUNCTION')
        for name in ('times', 'double_it'):
            self.expect([one], [x], 2 * x, {name: {'expression': 'x * by'}})

    # --- alias ---

    def test_an_alias_renames_and_fixes_arguments(self):
        x, kernel, bias = values(2, 3), values(3, 4), values(4)
        weights = [('custom_1/kernel', kernel), ('custom_1/bias', bias)]
        mine = layer('MyDense', {'width': 4, 'kind': 'relu'}, weights)
        alias = {'layer': 'Dense', 'config': {'units': '$width', 'activation': '$kind'}}
        self.expect([mine], [x], np.maximum(x @ kernel + bias, 0), {'MyDense': alias})
        self.expect([layer('MyDense', {'units': 4, 'activation': 'relu'}, weights)], [x],
                    np.maximum(x @ kernel + bias, 0), {'MyDense': {'layer': 'Dense'}})
        computed = {'layer': 'Dense', 'config': {'units': '= width * 2', 'activation': 'linear'},
                    'ignore': ['kind']}
        self.expect([layer('MyDense', {'width': 2, 'kind': 'relu'}, weights)], [x],
                    x @ kernel + bias, {'MyDense': computed})

        found = self.refused([layer('MyDense', {'kind': 'relu'}, weights)], [(3,)],
                             {'MyDense': alias}, 'CUSTOM_LAYER_CONFIG')
        self.assertIn('the file stores no width', found['message'])
        alias['parameters'] = {'width': 4}
        self.expect([layer('MyDense', {'kind': 'linear'}, weights)], [x], x @ kernel + bias,
                    {'MyDense': alias})
        found = self.refused([layer('MyDense', {'width': 4, 'kind': 'relu', 'extra': 3}, weights)],
                             [(3,)], {'MyDense': alias}, 'CUSTOM_LAYER_CONFIG')
        self.assertIn('extra = 3', found['message'])
        found = self.refused([mine], [(3,)], {'MyDense': {'layer': 'Dens'}},
                             'CUSTOM_DEFINITION_INVALID')
        self.assertIn('Dens is no class of Keras', found['message'])
        self.refused([mine], [(3,)], {'MyDense': {'layer': 'A'}, 'A': {'layer': 'B'},
                                      'B': {'layer': 'A'}}, 'CUSTOM_DEFINITION_INVALID')

    # --- expression ---

    def test_an_expression_over_weights_and_settings(self):
        x, gamma, beta = values(2, 3), values(3), values(3)
        weights = [('custom_1/beta', beta), ('custom_1/gamma', gamma)]
        objects = {'Affine': {'expression': 'x * gamma * factor + beta',
                              'parameters': {'factor': 1.5}}}
        self.expect([layer('Affine', {}, weights)], [x], x * gamma * 1.5 + beta, objects)
        self.expect([layer('Affine', {'factor': 2}, weights)], [x], x * gamma * 2 + beta, objects)

        # Names that the file does not use need the order.
        objects = {'Affine': {'expression': 'x * w1 + w0'}}
        self.refused([layer('Affine', {}, weights)], [(3,)], objects, 'WEIGHT_ORDER_AMBIGUOUS')
        objects['Affine']['weights'] = ['w0', 'w1']
        self.expect([layer('Affine', {}, weights)], [x], x * gamma + beta, objects)
        objects['Affine']['weights'] = [{'name': 'w1', 'saved': 'gamma'},
                                        {'name': 'w0', 'saved': 'beta'}]
        self.expect([layer('Affine', {}, weights)], [x], x * gamma + beta, objects)

    def test_weights_that_depend_on_settings(self):
        x, gamma = values(2, 3), values(3)
        objects = {'Affine': {
            'expression': 'x * gamma + beta if center else x * gamma',
            'parameters': {'center': True}, 'weights': ['gamma', 'beta if center']}}
        self.expect([layer('Affine', {'center': False}, [('custom_1/gamma', gamma)])], [x],
                    x * gamma, objects)

    def test_every_weight_must_be_accounted_for(self):
        weights = [('custom_1/gamma', values(3)), ('custom_1/spare', values(2))]
        found = self.refused([layer('Affine', {'factor': 2}, weights)], [(3,)],
                             {'Affine': {'expression': 'x * gamma * factor'}},
                             'WEIGHT_COUNT_MISMATCH')
        skeleton = found['remedies'][0]
        self.assertEqual(['gamma', 'spare'], json.loads(skeleton[skeleton.index('{'):])
                         ['custom_objects']['Affine']['weights'])
        servable, _ = self.check(self.path('m.h5'), {'Affine': {
            'expression': 'x * gamma * factor', 'ignore': ['spare']}})
        self.assertTrue(servable)
        self.refused([layer('Affine', {}, weights)], [(3,)], {'Affine': {'expression': 'x'}},
                     'WEIGHT_COUNT_MISMATCH')

    def test_every_setting_must_be_accounted_for(self):
        objects = {'Affine': {'expression': 'x * factor'}}
        found = self.refused([layer('Affine', {'factor': 2, 'mode': 'odd'})], [(3,)], objects,
                             'CUSTOM_LAYER_CONFIG')
        self.assertIn('mode = "odd"', found['message'])
        objects['Affine']['ignore'] = ['mode']
        self.assertTrue(self.check(self.path('m.h5'), objects)[0])
        # A definition without any setting says that none matters.
        servable, found = self.check(self.path('m.h5'), {'Affine': {'expression': 'x'}})
        self.assertTrue(servable)
        self.assertEqual('warning', found['CUSTOM_LAYER_CONFIG']['severity'])

    def test_errors_point_at_their_place(self):
        found = self.refused([layer('Odd')], [(3,)], {'Odd': {'expression': 'x * sigmoid(2 x)'}},
                             'CUSTOM_DEFINITION_INVALID')
        self.assertIn("expected ',':\n  x * sigmoid(2 x)\n                ^", found['message'])
        found = self.refused([layer('Odd', {'rate': 1})], [(3,)],
                             {'Odd': {'expression': 'sigmoit(x)', 'ignore': ['rate']}},
                             'CUSTOM_DEFINITION_INVALID')
        self.assertIn('did you mean sigmoid', found['message'])
        found = self.refused([layer('Odd', {}, [('w', values(5))])], [(3,)],
                             {'Odd': {'expression': 'x * w'}}, 'SHAPE_INFERENCE_FAILED')
        self.assertIn('x * w\n    ^', found['message'])
        found = self.refused([layer('Odd')], [(3,)], {'Odd': {'expresion': 'x'}},
                             'CUSTOM_DEFINITION_INVALID')
        self.assertIn('unknown key expresion', found['message'])
        self.refused([layer('Odd')], [(3,)], {'Odd': {'expression': 'x / 0.0 - x / 0.0'}},
                     'NONFINITE_OUTPUT')

    def test_a_wrong_definition_that_is_not_needed_only_warns(self):
        model = write(self.path('m.h5'), [layer('Odd')], (3,))
        servable, found = self.check(model, {'Odd': {'expression': 'x'},
                                             'Other': {'expression': 'x +'}})
        self.assertTrue(servable)
        self.assertEqual('warning', found['CUSTOM_DEFINITION_INVALID']['severity'])

    def test_several_inputs_and_outputs(self):
        a, b = values(2, 3), values(2, 3)
        two = ['input_1', 'input_2']
        outputs = [['custom_1', 0, 0], ['custom_1', 0, 1]]
        for objects in ({'Both': {'inputs': ['a', 'b'], 'expression': 'a + b, a * b'}},
                        {'Both': {'expression': ['s = x0 + x1', 's, x0 * x1']}},
                        {'Both': {'expression': '[inputs[0] + inputs[1], inputs[0] * inputs[1]]'}}):
            self.expect([layer('Both', inputs=two)], [a, b], [a + b, a * b], objects,
                        outputs=outputs)

    def test_layers_inside_of_an_expression(self):
        x, w1, b1, w2, b2 = values(2, 3), values(3, 5), values(5), values(5, 3), values(3)
        weights = [('custom_1/first/kernel', w1), ('custom_1/first/bias', b1),
                   ('custom_1/second/kernel', w2), ('custom_1/second/bias', b2)]
        objects = {'Residual': {
            'layers': [{'name': 'first', 'layer': 'Dense',
                        'config': {'units': '$hidden', 'activation': '$activation'}},
                       {'name': 'second', 'layer': 'Dense', 'config': {'units': '= size + 1'}}],
            'expression': 'x + second(first(x))'}}
        self.expect([layer('Residual', {'hidden': 5, 'size': 2, 'activation': 'relu'}, weights)],
                    [x], x + np.maximum(x @ w1 + b1, 0) @ w2 + b2, objects)
        shuffled = [weights[2], weights[0], weights[3], weights[1]]
        self.expect([layer('Residual', {'hidden': 5, 'size': 2, 'activation': 'relu'}, shuffled)],
                    [x], x + np.maximum(x @ w1 + b1, 0) @ w2 + b2, objects)

    def test_masks_must_be_accounted_for(self):
        tokens, table = np.array([[1, 2, 0]], 'float32'), values(3, 2)
        layers = [layer('Embedding', {'input_dim': 3, 'output_dim': 2, 'mask_zero': True},
                        [('emb/embeddings', table)], name='emb'),
                  layer('Twice', inputs=['emb'])]
        found = self.refused(layers, [(3,)], {'Twice': {'expression': '2 * x'}},
                             'CUSTOM_LAYER_CONFIG')
        self.assertIn('"mask": "pass"', found['remedies'][0])
        expected = 2 * table[[[1, 2, 0]]]
        self.expect(layers, [tokens], expected, {'Twice': {'expression': '2 * x', 'mask': 'pass'}})
        self.expect(layers, [tokens], expected * [[[1], [1], [0]]], {
            'Twice': {'expression': '2 * x * cast(mask, float32)[..., None]', 'mask': 'stop'}})

    def test_inside_of_wrappers_and_nested_models(self):
        x, gamma = values(2, 4, 3), values(3)
        inner = {'class_name': 'Affine', 'config': {'name': 'inner', 'trainable': True}}
        self.expect([layer('TimeDistributed', {'layer': inner}, [('custom_1/gamma', gamma)])], [x],
                    x * gamma, {'Affine': {'expression': 'x * gamma'}})

    # --- graph ---

    def block(self):
        dense = {'trainable': True, 'units': 3, 'activation': 'linear', 'use_bias': True}
        return {'class_name': 'Model', 'config': {'name': 'block', 'layers': [
            {'class_name': 'InputLayer', 'name': 'in', 'inbound_nodes': [],
             'config': {'name': 'in', 'batch_input_shape': [None, 3], 'dtype': 'float32'}},
            {'class_name': 'Dense', 'name': 'a', 'config': dict(dense, name='a', activation='$kind'),
             'inbound_nodes': [[['in', 0, 0, {}]]]},
            {'class_name': 'Dense', 'name': 'b', 'config': dict(dense, name='b'),
             'inbound_nodes': [[['a', 0, 0, {}]]]}],
            'input_layers': [['in', 0, 0]], 'output_layers': [['b', 0, 0]]}}

    def test_a_graph_binds_weights_by_name(self):
        x, wa, ba, wb, bb = values(2, 3), values(3, 3), values(3), values(3, 3), values(3)
        expected = np.maximum(x @ wa + ba, 0) @ wb + bb
        weights = [('custom_1/b/kernel', wb), ('custom_1/b/bias', bb), ('custom_1/a/kernel', wa),
                   ('custom_1/a/bias', ba)]
        objects = {'Block': {'graph': self.block()}}
        self.expect([layer('Block', {'kind': 'relu'}, weights)], [x], expected, objects)

        strange = [('custom_1/w1', wb), ('custom_1/v1', bb), ('custom_1/w0', wa),
                   ('custom_1/v0', ba)]
        objects['Block']['weights'] = {'a/kernel': 'w0', 'a/bias': 'v0', 'b/kernel': 'w1',
                                       'b/bias': 'v1'}
        self.expect([layer('Block', {'kind': 'relu'}, strange)], [x], expected, objects)
        objects['Block']['weights']['b/bias'] = 'v9'
        self.refused([layer('Block', {'kind': 'relu'}, strange)], [(3,)], objects, 'WEIGHT_MISSING')

    def test_a_model_class_is_served_through_a_graph(self):
        model = write(self.path('m.h5'), [layer('Dense', {'units': 3, 'activation': 'linear'},
                                                [('a/kernel', np.eye(3)), ('a/bias', [1, 2, 3])],
                                                name='a'),
                                          layer('Dense', {'units': 3, 'activation': 'linear'},
                                                [('b/kernel', np.eye(3)), ('b/bias', [1, 1, 1])],
                                                name='b', inputs=['a'])], (3,))
        with h5py.File(model, 'r+') as file:
            file.attrs['model_config'] = json.dumps(
                {'class_name': 'MyModel', 'config': {'kind': 'linear'}})
        servable, found = self.check(model)
        self.assertFalse(servable)
        self.assertIn('MyModel', found['CUSTOM_MODEL_CLASS']['message'])
        x = values(2, 3)
        got, = self.predict(model, [x], {'MyModel': {'graph': self.block()}})
        np.testing.assert_allclose(got, x + [2, 3, 4], rtol=1e-6)

    # --- plug-in ---

    def test_a_plugin_computes_a_layer(self):
        x, gamma = values(2, 5, 3), values(3)
        one = layer('MyScale', {'offset': 0.5}, [('custom_1/gamma', gamma)])
        plugin = os.path.join(os.environ['PLUGINS'], 'libscale_plugin.so')
        objects = {'MyScale': {'plugin': plugin, 'weights': ['gamma'],
                               'parameters': {'offset': 0}}}
        self.expect([one], [x], x * gamma + 0.5, objects, '--plugins', plugin)
        found = self.refused([one], [(5, 3)], objects, 'CUSTOM_PLUGIN_FAILED')
        self.assertIn('server\'s configuration', found['message'])

    def test_broken_plugins_are_refused(self):
        one = layer('MyScale', {'offset': 0.5}, [('custom_1/gamma', values(3))])
        model = write(self.path('m.h5'), [one], (5, 3))
        for name, message in {'_version': 'version 2', '_symbol': 'h5serve_plugin_entry',
                              '_shape_rule': 'writes outside', '_run': 'does not write all',
                              '_agreement': 'other shapes', '_none': 'cannot open'}.items():
            with self.subTest(name):
                plugin = os.path.join(os.environ['PLUGINS'], 'libscale_plugin%s.so' % name)
                servable, found = self.check(model, {'MyScale': {
                    'plugin': plugin, 'weights': ['gamma'], 'parameters': {'offset': 0}}},
                    '--plugins', plugin)
                self.assertFalse(servable)
                self.assertIn(message, found['CUSTOM_PLUGIN_FAILED']['message'])

    def test_a_plugin_may_refuse_a_layer(self):
        model = write(self.path('m.h5'), [layer('MyScale', {}, [('custom_1/gamma', values(3))])],
                      (5, 3))
        plugin = os.path.join(os.environ['PLUGINS'], 'libscale_plugin.so')
        _, found = self.check(model, {'MyScale': {'plugin': plugin, 'weights': ['gamma']}},
                              '--plugins', plugin)
        self.assertIn('the config has no offset', found['CUSTOM_PLUGIN_FAILED']['message'])


if __name__ == '__main__':
    unittest.main()
