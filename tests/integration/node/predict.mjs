// node predict.mjs ADDRESS PROTO_ROOT: predicts {model, name, shape, values} of
// standard input and prints {name, shape, values} of the first output.
import { readFileSync } from 'node:fs';
import grpc from '@grpc/grpc-js';
import protoLoader from '@grpc/proto-loader';

const [address, root] = process.argv.slice(2);
const { model, name, shape, values } = JSON.parse(readFileSync(0, 'utf8'));
const definition = protoLoader.loadSync('proto/tensorflow_serving.proto', {
  includeDirs: [root],
  keepCase: true,
  longs: Number,
});
const { PredictionService } = grpc.loadPackageDefinition(definition).tensorflow.serving;
const client = new PredictionService(address, grpc.credentials.createInsecure());
const request = {
  model_spec: { name: model },
  inputs: {
    [name]: {
      dtype: 'DT_FLOAT',
      tensor_shape: { dim: shape.map((size) => ({ size })) },
      float_val: values,
    },
  },
};
client.Predict(request, { deadline: Date.now() + 30000 }, (error, response) => {
  if (error) {
    console.error(`${grpc.status[error.code]}: ${error.details}`);
    process.exitCode = 1;
  } else {
    const [output, tensor] = Object.entries(response.outputs)[0];
    const content = tensor.tensor_content;
    console.log(JSON.stringify({
      name: output,
      shape: tensor.tensor_shape.dim.map((dimension) => dimension.size),
      values: content?.length
        ? Array.from({ length: content.length / 4 }, (_, i) => content.readFloatLE(4 * i))
        : tensor.float_val,
    }));
  }
  client.close();
});
