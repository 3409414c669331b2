/* An example of a plug-in: y = gamma x + offset over the last axis, where gamma
 * is a weight and offset a setting of the layer.
 *
 *   {"custom_objects": {"MyScale": {"plugin": "/path/to/libscale_plugin.so",
 *                                   "weights": ["gamma"]}}}
 *
 * The tests build it with BREAK_… defined to see that broken libraries are refused.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/custom/plugin_abi.h"

typedef struct scale_layer {
  float offset;
  const float* gamma;
  int64_t size;
} scale_layer;

static int fail(char* error, size_t error_size, const char* message) {
  snprintf(error, error_size, "%s", message);
  return 1;
}

static int create(const char* class_name, const char* config_json, void** layer, char* error,
                  size_t error_size) {
  /* A real plug-in would use a JSON library. */
  const char* key = strstr(config_json, "\"offset\":");
  scale_layer* made = calloc(1, sizeof(scale_layer));
  (void)class_name;
  if (key == NULL || made == NULL) {
    free(made);
    return fail(error, error_size, "the config has no offset");
  }
  made->offset = strtof(key + strlen("\"offset\":"), NULL);
  *layer = made;
  return 0;
}

static void destroy(void* layer) { free(layer); }

static int bind_weights(void* layer, const h5serve_weight* weights, int32_t count, char* error,
                        size_t error_size) {
  scale_layer* scale = layer;
  if (count != 1 || strcmp(weights[0].name, "gamma") != 0 || weights[0].tensor.shape.rank != 1) {
    return fail(error, error_size, "one vector gamma is expected");
  }
  scale->gamma = weights[0].tensor.data;
  scale->size = weights[0].tensor.shape.dims[0];
  return 0;
}

static int infer_shapes(void* layer, const h5serve_shape* inputs, int32_t input_count,
                        h5serve_shape* outputs, int32_t* output_count, char* error,
                        size_t error_size) {
  const scale_layer* scale = layer;
  if (input_count != 1 || inputs[0].rank < 1 ||
      inputs[0].dims[inputs[0].rank - 1] != scale->size) {
    return fail(error, error_size, "the last dimension differs from gamma's");
  }
  outputs[0] = inputs[0];
  *output_count = 1;
#ifdef BREAK_SHAPE_RULE
  outputs[0].dims[outputs[0].rank - 1] -= 1;
#endif
#ifdef BREAK_AGREEMENT
  if (inputs[0].dims[0] != H5SERVE_PLUGIN_UNKNOWN) outputs[0].rank = 1;
#endif
  return 0;
}

static int run(void* layer, const h5serve_tensor* inputs, int32_t input_count,
               const h5serve_tensor* outputs, int32_t output_count, char* error,
               size_t error_size) {
  const scale_layer* scale = layer;
  int64_t count = 1;
  int64_t i;
  (void)input_count;
  (void)output_count;
  (void)error;
  (void)error_size;
  for (i = 0; i < inputs[0].shape.rank; ++i) count *= inputs[0].shape.dims[i];
#ifdef BREAK_RUN
  count -= 1;
#endif
  for (i = 0; i < count; ++i) {
    outputs[0].data[i] = inputs[0].data[i] * scale->gamma[i % scale->size] + scale->offset;
  }
  return 0;
}

static const h5serve_plugin plugin = {
#ifdef BREAK_VERSION
    H5SERVE_PLUGIN_ABI_VERSION + 1,
#else
    H5SERVE_PLUGIN_ABI_VERSION,
#endif
    sizeof(h5serve_plugin), create, destroy, bind_weights, infer_shapes, run};

#ifndef BREAK_SYMBOL
const h5serve_plugin* h5serve_plugin_entry(void) { return &plugin; }
#else
const h5serve_plugin* another_entry(void);
const h5serve_plugin* another_entry(void) { return &plugin; }
#endif
