/* Interface of plug-ins for h5serve: custom Keras layers computed by a shared
 * library. Plain C, so that any compiler and any language can make one.
 *
 * A library exports one function, h5serve_plugin_entry, which gives a table of
 * functions that stays valid for ever. For each layer of a model the server
 *   1. calls create with the layer's class and stored config,
 *   2. calls bind_weights once,
 *   3. calls infer_shapes, perhaps with unknown dimensions, as often as it likes,
 *   4. calls run, from any number of threads at once,
 *   5. calls destroy.
 * Functions return 0 for success. Otherwise they may leave a message, ended by a
 * zero byte, in `error`, which has room for `error_size` bytes. Exceptions must
 * not leave a function.
 *
 * The version changes when anything below does; the server refuses a library of
 * another version.
 */
#pragma once
#ifndef H5SERVE_PLUGIN_ABI_H_
#define H5SERVE_PLUGIN_ABI_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define H5SERVE_PLUGIN_ABI_VERSION 1
#define H5SERVE_PLUGIN_MAX_RANK 8
#define H5SERVE_PLUGIN_MAX_OUTPUTS 16
/* A dimension that is not known yet, usually the batch. */
#define H5SERVE_PLUGIN_UNKNOWN (-1)

typedef struct h5serve_shape {
  int32_t rank;
  int64_t dims[H5SERVE_PLUGIN_MAX_RANK];
} h5serve_shape;

/* Row-major float32 values. */
typedef struct h5serve_tensor {
  h5serve_shape shape; /* all dimensions known */
  float* data;         /* not to be written where it is an input or a weight */
} h5serve_tensor;

typedef struct h5serve_weight {
  const char* name; /* as the definition calls it */
  h5serve_tensor tensor;
} h5serve_weight;

typedef struct h5serve_plugin {
  uint32_t abi_version; /* H5SERVE_PLUGIN_ABI_VERSION */
  uint32_t struct_size; /* sizeof(h5serve_plugin) */

  /* Makes a layer; its handle goes to `layer`. `config_json` is the layer's
   * config in the file. Both strings live only for the call. */
  int (*create)(const char* class_name, const char* config_json, void** layer, char* error,
                size_t error_size);
  void (*destroy)(void* layer);

  /* Gives the weights, in the definition's order. Their memory lives until destroy. */
  int (*bind_weights)(void* layer, const h5serve_weight* weights, int32_t count, char* error,
                      size_t error_size);

  /* Says the outputs' shapes for inputs of these shapes. `outputs` has room for
   * H5SERVE_PLUGIN_MAX_OUTPUTS. What is known must be the same for all inputs
   * that fit: an output of unknown batch has an unknown batch. */
  int (*infer_shapes)(void* layer, const h5serve_shape* inputs, int32_t input_count,
                      h5serve_shape* outputs, int32_t* output_count, char* error,
                      size_t error_size);

  /* Computes the outputs, whose memory the server allocated by infer_shapes. All
   * of it must be written, and nothing else. Thread-safe. */
  int (*run)(void* layer, const h5serve_tensor* inputs, int32_t input_count,
             const h5serve_tensor* outputs, int32_t output_count, char* error, size_t error_size);
} h5serve_plugin;

/* The function that a library exports. */
const h5serve_plugin* h5serve_plugin_entry(void);

#ifdef __cplusplus
}
#endif

#endif /* H5SERVE_PLUGIN_ABI_H_ */
