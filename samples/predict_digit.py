#!/usr/bin/python3
"""Asks a running h5serve which digit a small picture shows, and draws the answer."""
import argparse
import json
import os
import sys
import time

import grpc
import numpy as np

from h5serve_client import Client

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'data')
SHADES = ' ░▒▓█'
BAR_WIDTH = 30


def picture(image):
    """Lines that show an image of values 0 … 1, two characters a pixel."""
    return [''.join(SHADES[round(float(value) * (len(SHADES) - 1))] * 2 for value in row)
            for row in image]


def bars(labels, probabilities):
    """Lines with one bar for each label; the longest is marked."""
    best = int(np.argmax(probabilities))
    lines = []
    for index, (label, probability) in enumerate(zip(labels, probabilities)):
        length = int(round(float(probability) * BAR_WIDTH))
        lines.append('%s %s %6.2f %%%s' % (label, ('█' * length).ljust(BAR_WIDTH, '·'),
                                           100 * probability, '  <--' if index == best else ''))
    return lines


def show(image, labels, probabilities):
    left, right = picture(image), bars(labels, probabilities)
    left = [''] * ((len(right) - len(left)) // 2) + left
    left += [''] * (len(right) - len(left))
    for a, b in zip(left, right):
        print('   %-16s     %s' % (a, b))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--connect', default='127.0.0.1:8500', help='address of the server')
    parser.add_argument('--digit', type=int, default=7, choices=range(10), help='which sample')
    parser.add_argument('--wait', type=float, default=5, help='seconds to wait for the model')
    options = parser.parse_args()

    # A terminal of an unknown encoding gets question marks rather than an error.
    sys.stdout.reconfigure(errors='replace')
    images = np.load(os.path.join(DATA, 'digits.in.npz'))['image']
    expected = np.load(os.path.join(DATA, 'digits.out.npz'))['probabilities']
    with open(os.path.join(DATA, 'digits.json'), encoding='utf-8') as file:
        labels = json.load(file)['labels']

    client = Client(options.connect)
    try:
        client.wait_for_model('digits', options.wait)
        chosen = images[options.digit:options.digit + 1]
        start = time.perf_counter()
        probabilities = client.predict('digits', {'image': chosen})['probabilities'][0]
        milliseconds = 1000 * (time.perf_counter() - start)
        everything = client.predict('digits', {'image': images})['probabilities']
    except grpc.FutureTimeoutError:
        sys.exit('no server at %s' % options.connect)
    except grpc.RpcError as error:
        sys.exit('%s: %s' % (error.code().name, error.details()))

    print('\nPredict of model "digits" at %s:\n' % options.connect)
    show(images[options.digit, :, :, 0], labels, probabilities)
    right = int(np.sum(everything.argmax(1) == np.arange(len(images))))
    print('\nanswered in %.1f ms; all ten samples: %d right, at most %.1g away from what Keras '
          'computed' % (milliseconds, right, float(np.abs(everything - expected).max())))


if __name__ == '__main__':
    main()
