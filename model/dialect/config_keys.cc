#include "model/dialect/config_keys.h"

#include <algorithm>
#include <array>
#include <utility>

namespace h5serve::model {
namespace {

using Row = std::pair<std::string_view, std::string_view>;

// Arguments and config keys of each class in any Keras from 0.3.3 to 3.15.1,
// without those that every layer has. Read from the constructors and get_config
// methods of those versions.
constexpr auto kKeys = std::to_array<Row>({
    {"Activation", "activation"},
    {"ActivityRegularization", "l1 l2"},
    {"AdaptiveAveragePooling1D", "data_format output_size"},
    {"AdaptiveAveragePooling2D", "data_format output_size"},
    {"AdaptiveAveragePooling3D", "data_format output_size"},
    {"AdaptiveMaxPooling1D", "data_format output_size"},
    {"AdaptiveMaxPooling2D", "data_format output_size"},
    {"AdaptiveMaxPooling3D", "data_format output_size"},
    {"AddLoss", "unconditional"},
    {"AddMetric", "aggregation metric_name"},
    {"AdditiveAttention", "causal dropout score_mode seed use_scale"},
    {"AlphaDropout", "noise_shape rate seed"},
    {"Attention", "causal dropout score_mode seed use_scale"},
    {"AugMix",
     "all_ops alpha bounding_box_format chain_depth data_format factor interpolation "
     "num_chains seed value_range"},
    {"AutoContrast", "bounding_box_format data_format factor value_range"},
    {"Average", "axis"},
    {"AveragePooling1D",
     "border_mode data_format padding pool_dimensions pool_function pool_length pool_mode "
     "pool_size stride strides"},
    {"AveragePooling2D",
     "border_mode data_format dim_ordering padding pool_dimensions pool_function pool_mode "
     "pool_size strides"},
    {"AveragePooling3D",
     "border_mode data_format dim_ordering padding pool_dimensions pool_function pool_mode "
     "pool_size strides"},
    {"BaseAdaptivePooling", "data_format output_size"},
    {"BaseConv",
     "activation data_format dilation_rate filters groups kernel_size lora_alpha lora_rank "
     "padding rank strides use_bias"},
    {"BaseConvTranspose",
     "activation data_format dilation_rate filters kernel_size output_padding padding rank "
     "strides use_bias"},
    {"BaseDenseAttention", "causal dropout"},
    {"BaseDepthwiseConv",
     "activation data_format depth_multiplier dilation_rate kernel_size padding rank "
     "strides use_bias"},
    {"BaseGlobalPooling", "data_format keepdims pool_dimensions"},
    {"BaseImagePreprocessingLayer", "bounding_box_format data_format factor"},
    {"BasePooling", "data_format padding pool_dimensions pool_mode pool_size strides"},
    {"BaseSeparableConv",
     "activation data_format depth_multiplier dilation_rate filters kernel_size padding "
     "rank strides use_bias"},
    {"BatchNormalization",
     "adjustment axis center epsilon fused mode momentum renorm renorm_clipping "
     "renorm_momentum scale synchronized virtual_batch_size"},
    {"BatchNormalizationBase",
     "adjustment axis center epsilon fused momentum renorm renorm_clipping renorm_momentum "
     "scale synchronized virtual_batch_size"},
    {"Bidirectional", "backward_layer layer merge_mode num_constants"},
    {"CategoryCrossing", "depth separator"},
    {"CategoryEncoding", "num_tokens output_mode sparse"},
    {"CenterCrop", "bounding_box_format data_format factor height width"},
    {"ClassMethod", "cls_ref cls_symbol method_name"},
    {"Concatenate", "axis"},
    {"Container",
     "inbound_nodes input input_layers inputs layers mesh output output_layers "
     "output_names outputs"},
    {"ContrastLimitedAdaptiveHistogramEqualization",
     "bounding_box_format clip_limit data_format factor tile_grid_size value_range"},
    {"Conv",
     "activation conv_op data_format dilation_rate filters groups kernel_size padding rank "
     "strides use_bias"},
    {"Conv1D",
     "activation atrous_rate bias border_mode conv_op data_format dilation_rate "
     "filter_length filters groups kernel_size lora_alpha lora_rank nb_filter padding rank "
     "strides subsample_length use_bias"},
    {"Conv1DTranspose",
     "activation conv_op data_format dilation_rate filters groups kernel_size lora_alpha "
     "lora_rank output_padding padding rank strides use_bias"},
    {"Conv2D",
     "activation atrous_rate bias border_mode conv_op data_format dilation_rate "
     "dim_ordering filters groups kernel_size lora_alpha lora_rank nb_col nb_filter nb_row "
     "padding rank strides subsample use_bias"},
    {"Conv2DTranspose",
     "activation bias border_mode conv_op data_format dilation_rate dim_ordering filters "
     "groups kernel_size lora_alpha lora_rank nb_col nb_filter nb_row output_padding "
     "output_shape padding rank strides subsample use_bias"},
    {"Conv3D",
     "activation bias border_mode conv_op data_format dilation_rate dim_ordering filters "
     "groups kernel_dim1 kernel_dim2 kernel_dim3 kernel_size lora_alpha lora_rank "
     "nb_filter padding rank strides subsample use_bias"},
    {"Conv3DTranspose",
     "activation conv_op data_format dilation_rate filters groups kernel_size lora_alpha "
     "lora_rank output_padding padding rank strides use_bias"},
    {"ConvLSTM",
     "activation cell data_format dilation_rate dropout filters go_backwards kernel_size "
     "num_constants padding rank recurrent_activation recurrent_dropout return_sequences "
     "return_state seed stateful strides time_major unit_forget_bias unroll use_bias "
     "zero_output_for_mask"},
    {"ConvLSTM1D",
     "activation cell data_format dilation_rate dropout filters go_backwards kernel_size "
     "num_constants padding rank recurrent_activation recurrent_dropout return_sequences "
     "return_state seed stateful strides time_major unit_forget_bias unroll use_bias "
     "zero_output_for_mask"},
    {"ConvLSTM2D",
     "activation border_mode cell consume_less data_format dilation_rate dim_ordering "
     "dropout dropout_U dropout_W filters go_backwards implementation inner_activation "
     "kernel_size nb_col nb_filter nb_row num_constants padding rank recurrent_activation "
     "recurrent_dropout return_sequences return_state seed stateful strides subsample "
     "time_major unit_forget_bias unroll use_bias zero_output_for_mask"},
    {"ConvLSTM2DCell",
     "activation data_format dilation_rate dropout filters kernel_size padding "
     "recurrent_activation recurrent_dropout strides unit_forget_bias use_bias"},
    {"ConvLSTM3D",
     "activation cell data_format dilation_rate dropout filters go_backwards kernel_size "
     "num_constants padding rank recurrent_activation recurrent_dropout return_sequences "
     "return_state seed stateful strides time_major unit_forget_bias unroll use_bias "
     "zero_output_for_mask"},
    {"ConvLSTMCell",
     "activation data_format dilation_rate dropout filters kernel_size padding rank "
     "recurrent_activation recurrent_dropout seed strides unit_forget_bias use_bias"},
    {"ConvRNN",
     "cell go_backwards num_constants rank return_sequences return_state stateful "
     "time_major unroll zero_output_for_mask"},
    {"ConvRNN2D",
     "cell go_backwards num_constants return_sequences return_state stateful time_major "
     "unroll zero_output_for_mask"},
    {"ConvRecurrent2D",
     "consume_less data_format dilation_rate dim_ordering filters go_backwards "
     "implementation kernel_size nb_col nb_filter nb_row padding return_sequences "
     "return_state stateful strides unroll"},
    {"Cropping1D", "cropping data_format"},
    {"Cropping2D", "cropping data_format dim_ordering"},
    {"Cropping3D", "cropping data_format dim_ordering"},
    {"CutMix", "bounding_box_format data_format factor seed"},
    {"Dense", "activation bias lora_alpha lora_rank output_dim quantization_config units use_bias"},
    {"DenseFeatures", "feature_columns"},
    {"DepthwiseConv",
     "activation conv_op data_format depth_multiplier dilation_rate filters groups "
     "kernel_size padding rank strides use_bias"},
    {"DepthwiseConv1D",
     "activation conv_op data_format depth_multiplier dilation_rate filters groups "
     "kernel_size padding rank strides use_bias"},
    {"DepthwiseConv2D",
     "activation conv_op data_format depth_multiplier dilation_rate filters groups "
     "kernel_size lora_alpha lora_rank padding rank strides use_bias"},
    {"DeviceWrapper", "cell device"},
    {"Discretization", "bin_boundaries epsilon num_bins output_mode sparse"},
    {"Dot", "axes normalize"},
    {"Dropout", "noise_shape p rate seed"},
    {"DropoutWrapper",
     "cell dropout_fn dropout_fn_module dropout_fn_type dropout_state_filter_visitor "
     "input_keep_prob input_size output_keep_prob seed state_keep_prob "
     "variational_recurrent"},
    {"ELU", "alpha"},
    {"EinsumDense",
     "activation bias_axes equation gptq_unpacked_column_size lora_alpha lora_rank "
     "output_shape quantization_config"},
    {"Embedding", "dropout lora_alpha lora_rank mask_zero output_dim quantization_config sparse"},
    {"Equalization", "bins bounding_box_format data_format factor value_range"},
    {"Flatten", "data_format"},
    {"Functional",
     "build_input_shape compile_config inbound_nodes input input_layers inputs layers loss "
     "mesh optimizer output output_layers output_names outputs"},
    {"GRU",
     "activation cell consume_less dropout dropout_U dropout_W go_backwards implementation "
     "inner_activation num_constants output_dim recurrent_activation recurrent_dropout "
     "reset_after return_sequences return_state seed stateful time_major units unroll "
     "use_bias use_cudnn zero_output_for_mask"},
    {"GRUCell",
     "activation dropout implementation num_units recurrent_activation recurrent_dropout "
     "reset_after reuse seed units use_bias"},
    {"GaussianDropout", "p rate seed"},
    {"GaussianNoise", "seed sigma stddev"},
    {"GlobalAveragePooling1D", "data_format keepdims pool_dimensions"},
    {"GlobalAveragePooling2D", "data_format dim_ordering keepdims pool_dimensions"},
    {"GlobalAveragePooling3D", "data_format dim_ordering keepdims pool_dimensions"},
    {"GlobalMaxPooling1D", "data_format keepdims pool_dimensions"},
    {"GlobalMaxPooling2D", "data_format dim_ordering keepdims pool_dimensions"},
    {"GlobalMaxPooling3D", "data_format dim_ordering keepdims pool_dimensions"},
    {"GlobalPooling1D", "data_format keepdims"},
    {"GlobalPooling2D", "data_format keepdims"},
    {"GlobalPooling3D", "data_format keepdims"},
    {"GroupNormalization", "axis center epsilon groups scale"},
    {"GroupedQueryAttention",
     "dropout flash_attention head_dim num_key_value_heads num_query_heads seed "
     "sliding_window use_bias use_gate"},
    {"HashedCrossing", "num_bins output_mode sparse"},
    {"Hashing", "mask_value num_bins output_mode salt sparse"},
    {"Highway", "activation bias transform_bias"},
    {"Identity", "gain"},
    {"IndexLookup",
     "has_static_table idf_weights invert mask_token max_tokens num_oov_indices oov_method "
     "oov_token output_mode pad_to_max_tokens salt sparse vocabulary vocabulary_dtype "
     "vocabulary_size"},
    {"InputLayer", "batch_size input_tensor optional ragged shape sparse type_spec"},
    {"InstanceProperty", "attr_name"},
    {"IntegerLookup",
     "has_static_table idf_weights invert mask_token max_tokens num_oov_indices oov_method "
     "oov_token output_mode pad_to_max_tokens salt sparse vocabulary vocabulary_dtype "
     "vocabulary_size"},
    {"LSTM",
     "activation cell consume_less dropout dropout_U dropout_W go_backwards implementation "
     "inner_activation num_constants output_dim recurrent_activation recurrent_dropout "
     "return_sequences return_state seed stateful time_major unit_forget_bias units unroll "
     "use_bias use_cudnn zero_output_for_mask"},
    {"LSTMCell",
     "activation cell_clip dropout forget_bias implementation num_proj num_proj_shards "
     "num_unit_shards num_units proj_clip recurrent_activation recurrent_dropout reuse "
     "seed state_is_tuple unit_forget_bias units use_bias use_peepholes"},
    {"Lambda",
     "arguments function function_type mask mask_module mask_type module output_shape "
     "output_shape_module output_shape_type"},
    {"LayerNormalization", "axis center epsilon rms_scaling scale"},
    {"LeakyReLU", "alpha negative_slope"},
    {"LinearModel",
     "activation build_input_shape compile_config inbound_nodes input input_layers inputs "
     "layers loss mesh optimizer output output_layers output_names outputs units use_bias"},
    {"LocallyConnected1D",
     "activation bias border_mode data_format filter_length filters implementation "
     "kernel_size nb_filter padding strides subsample_length use_bias"},
    {"LocallyConnected2D",
     "activation bias border_mode data_format dim_ordering filters implementation "
     "kernel_size nb_col nb_filter nb_row padding strides subsample use_bias"},
    {"Masking", "mask_value"},
    {"MaxNumBoundingBoxes", "bounding_box_format data_format factor fill_value max_number"},
    {"MaxPooling1D",
     "border_mode data_format padding pool_dimensions pool_function pool_length pool_mode "
     "pool_size stride strides"},
    {"MaxPooling2D",
     "border_mode data_format dim_ordering padding pool_dimensions pool_function pool_mode "
     "pool_size strides"},
    {"MaxPooling3D",
     "border_mode data_format dim_ordering padding pool_dimensions pool_function pool_mode "
     "pool_size strides"},
    {"MaxoutDense", "bias nb_feature output_dim"},
    {"MelSpectrogram",
     "fft_length mag_exp max_freq min_freq min_power num_mel_bins power_to_db ref_power "
     "sampling_rate sequence_length sequence_stride top_db window"},
    {"Merge",
     "arguments concat_axis dot_axes layers mode mode_type node_indices output_mask "
     "output_mask_type output_shape output_shape_type tensor_indices"},
    {"MixUp", "alpha bounding_box_format data_format factor seed"},
    {"Model",
     "build_input_shape compile_config inbound_nodes input input_layers inputs layers loss "
     "mesh optimizer output output_layers output_names outputs"},
    {"ModuleWrapper", "method_name module"},
    {"MultiHeadAttention",
     "attention_axes dropout flash_attention key_dim key_shape num_heads output_shape "
     "query_shape seed sliding_window softmax_robust_masking use_bias use_gate value_dim "
     "value_shape"},
    {"Network", "inbound_nodes input_layers layers output_layers"},
    {"Normalization", "axis invert mean variance"},
    {"PReLU", "shared_axes"},
    {"ParametricSoftplus", "shared_axes"},
    {"PeepholeLSTMCell",
     "activation cell_clip dropout forget_bias implementation num_proj num_proj_shards "
     "num_unit_shards num_units proj_clip recurrent_activation recurrent_dropout reuse "
     "seed state_is_tuple unit_forget_bias units use_bias use_peepholes"},
    {"Permute", "dims"},
    {"Pipeline", "layers"},
    {"Pooling1D", "data_format padding pool_function pool_size strides"},
    {"Pooling2D", "data_format padding pool_function pool_size strides"},
    {"Pooling3D", "data_format padding pool_function pool_size strides"},
    {"RMSNormalization", "axis epsilon"},
    {"RNN",
     "cell go_backwards num_constants return_sequences return_state stateful time_major "
     "unroll zero_output_for_mask"},
    {"RandAugment",
     "bounding_box_format data_format factor interpolation num_ops seed value_range"},
    {"RandomBrightness", "bounding_box_format data_format factor seed value_range"},
    {"RandomColorDegeneration", "bounding_box_format data_format factor seed value_range"},
    {"RandomColorJitter",
     "bounding_box_format brightness_factor contrast_factor data_format factor hue_factor "
     "saturation_factor seed value_range"},
    {"RandomContrast", "bounding_box_format data_format factor seed value_range"},
    {"RandomCrop", "bounding_box_format data_format factor height seed width"},
    {"RandomElasticTransform",
     "bounding_box_format data_format factor fill_mode fill_value interpolation scale seed "
     "value_range"},
    {"RandomErasing", "bounding_box_format data_format factor fill_value scale seed value_range"},
    {"RandomFlip", "bounding_box_format data_format factor mode seed"},
    {"RandomFourierFeatures", "output_dim scale"},
    {"RandomGaussianBlur",
     "bounding_box_format data_format factor kernel_size seed sigma value_range"},
    {"RandomGrayscale", "bounding_box_format data_format factor seed"},
    {"RandomHeight", "factor interpolation seed"},
    {"RandomHue", "bounding_box_format data_format factor seed value_range"},
    {"RandomInvert", "bounding_box_format data_format factor seed value_range"},
    {"RandomPerspective",
     "bounding_box_format data_format factor fill_value interpolation scale seed"},
    {"RandomPosterization", "bounding_box_format data_format factor seed value_range"},
    {"RandomRotation",
     "bounding_box_format data_format factor fill_mode fill_value interpolation seed "
     "value_range"},
    {"RandomSaturation", "bounding_box_format data_format factor seed value_range"},
    {"RandomSharpness", "bounding_box_format data_format factor seed value_range"},
    {"RandomShear",
     "bounding_box_format data_format factor fill_mode fill_value interpolation seed "
     "x_factor y_factor"},
    {"RandomTranslation",
     "bounding_box_format data_format factor fill_mode fill_value height_factor "
     "interpolation seed width_factor"},
    {"RandomWidth", "factor interpolation seed"},
    {"RandomZoom",
     "bounding_box_format data_format factor fill_mode fill_value height_factor "
     "interpolation seed width_factor"},
    {"ReLU", "max_value negative_slope threshold"},
    {"Recurrent",
     "consume_less go_backwards implementation return_sequences return_state stateful "
     "unroll"},
    {"RepeatVector", "n"},
    {"Rescaling", "offset scale"},
    {"Reshape", "dims new_shape newshape target_shape"},
    {"ResidualWrapper", "cell residual_fn residual_fn_module residual_fn_type"},
    {"Resizing",
     "antialias bounding_box_format crop_to_aspect_ratio data_format factor fill_mode "
     "fill_value height interpolation pad_to_aspect_ratio width"},
    {"ReversibleEmbedding",
     "dropout logit_soft_cap lora_alpha lora_rank mask_zero output_dim quantization_config "
     "reverse_dtype sparse tie_weights"},
    {"SReLU", "shared_axes"},
    {"STFTSpectrogram",
     "data_format expand_dims fft_length frame_length frame_step mode padding periodic "
     "scaling window"},
    {"SeparableConv",
     "activation conv_op data_format depth_multiplier dilation_rate filters groups "
     "kernel_size padding rank strides use_bias"},
    {"SeparableConv1D",
     "activation conv_op data_format depth_multiplier dilation_rate filters groups "
     "kernel_size padding rank strides use_bias"},
    {"SeparableConv2D",
     "activation bias border_mode conv_op data_format depth_multiplier dilation_rate "
     "dim_ordering filters groups kernel_size lora_alpha lora_rank nb_col nb_filter nb_row "
     "padding rank strides subsample use_bias"},
    {"SequenceFeatures", "feature_columns"},
    {"Sequential",
     "build_input_shape compile_config inbound_nodes input input_layers inputs layers loss "
     "mesh optimizer output output_layers output_names outputs"},
    {"SimpleRNN",
     "activation cell consume_less dropout dropout_U dropout_W go_backwards implementation "
     "num_constants output_dim recurrent_dropout return_sequences return_state seed "
     "stateful time_major units unroll use_bias zero_output_for_mask"},
    {"SimpleRNNCell", "activation dropout recurrent_dropout seed units use_bias"},
    {"SlicingOpLambda", "function"},
    {"Softmax", "axis robust_masking"},
    {"Solarization",
     "addition_factor bounding_box_format data_format factor seed threshold_factor "
     "value_range"},
    {"SpatialDropout1D", "noise_shape p rate seed"},
    {"SpatialDropout2D", "data_format dim_ordering noise_shape p rate seed"},
    {"SpatialDropout3D", "data_format dim_ordering noise_shape p rate seed"},
    {"SpectralNormalization", "layer power_iterations"},
    {"StackedRNNCells", "cells"},
    {"StringLookup",
     "encoding has_static_table idf_weights invert mask_token max_tokens num_oov_indices "
     "oov_method oov_token output_mode pad_to_max_tokens salt sparse vocabulary "
     "vocabulary_dtype vocabulary_size"},
    {"SyncBatchNormalization",
     "adjustment axis center epsilon fused momentum renorm renorm_clipping renorm_momentum "
     "scale synchronized virtual_batch_size"},
    {"TFOpLambda", "function"},
    {"TensorFlowOpLayer", "constants node_def"},
    {"TextVectorization",
     "encoding idf_weights max_tokens ngrams output_mode output_sequence_length "
     "pad_to_max_tokens ragged sparse split standardize vocabulary vocabulary_size"},
    {"ThresholdedReLU", "theta"},
    {"TimeDistributed", "layer"},
    {"UnitNormalization", "axis"},
    {"UpSampling1D", "data_format length size"},
    {"UpSampling2D", "data_format dim_ordering interpolation size"},
    {"UpSampling3D", "data_format dim_ordering size"},
    {"WideDeepModel",
     "activation build_input_shape compile_config dnn_model inbound_nodes input "
     "input_layers inputs layers linear_model loss mesh optimizer output output_layers "
     "output_names outputs"},
    {"Wrapper", "layer"},
    {"ZeroPadding1D", "data_format padding"},
    {"ZeroPadding2D", "data_format dim_ordering padding"},
    {"ZeroPadding3D", "data_format dim_ordering padding"},
});

// Keys that every layer may have, and keys without meaning for inference.
constexpr auto kCommon = std::to_array<std::string_view>({
    "activity_regularizer",
    "autocast",
    "batch_input_shape",
    "batch_shape",
    "build_config",
    "build_input_shape",
    "dtype",
    "dynamic",
    "input_dim",
    "input_dtype",
    "input_length",
    "input_shape",
    "input_shapes",
    "name",
    "seed",
    "trainable",
    "weights",
    "noise_shape",
    "ragged",
    "sparse",
    "use_bias",
    "cache_enabled",
    "custom_name",
    "data_format",
    "batch_size",
    "layers",
});

// The words of the class's row, or null.
const std::string_view* RowOf(std::string_view class_name) {
  const auto row = std::find_if(kKeys.begin(), kKeys.end(),
                                [class_name](const Row& r) { return r.first == class_name; });
  return row == kKeys.end() ? nullptr : &row->second;
}

std::vector<std::string_view> Words(std::string_view text) {
  std::vector<std::string_view> words;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(' ', at), text.size());
    words.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return words;
}

bool HasWord(std::string_view text, std::string_view word) {
  const std::vector<std::string_view> words = Words(text);
  return std::find(words.begin(), words.end(), word) != words.end();
}

}  // namespace

bool IsListedConfigKey(std::string_view class_name, std::string_view key) {
  const std::string_view* row = RowOf(class_name);
  return row != nullptr && HasWord(*row, key);
}

bool IsKnownConfigKey(std::string_view class_name, std::string_view key) {
  if (std::find(kCommon.begin(), kCommon.end(), key) != kCommon.end()) return true;
  if (key.ends_with("_initializer") || key.ends_with("_regularizer") ||
      key.ends_with("_constraint") || key == "init" || key.ends_with("_init")) {
    return true;
  }
  // Without a row every key is as good as another.
  const std::string_view* row = RowOf(class_name);
  return row == nullptr || HasWord(*row, key);
}

std::vector<std::string_view> ListedConfigKeys(std::string_view class_name) {
  const std::string_view* row = RowOf(class_name);
  return row == nullptr ? std::vector<std::string_view>{} : Words(*row);
}

std::string_view NearestConfigKey(std::string_view class_name, std::string_view key) {
  std::string_view best;
  size_t best_score = 2;
  for (std::string_view word : ListedConfigKeys(class_name)) {
    const auto same = std::mismatch(word.begin(), word.end(), key.begin(), key.end());
    const size_t score = static_cast<size_t>(same.first - word.begin());
    if (score > best_score) best = word, best_score = score;
  }
  return best;
}

}  // namespace h5serve::model
