// Declarations of every lowering and weight function named in layers.def.
#pragma once

#include <vector>

#include "model/lowering.h"

namespace h5serve::model {

std::vector<KerasTensor> LowerActivation(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerAdaptivePooling(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerAdd(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerAdditiveAttention(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerAttention(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerAugmentation(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerAutoContrast(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerAverage(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerBatchNormalization(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerBidirectional(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerCategoryEncoding(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerCell(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerCenterCrop(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerConcatenate(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerConv(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerConvLstm(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerConvTranspose(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerCropping(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerCustomScale(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerDense(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerDepthwiseConv(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerDiscretization(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerDot(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerEinsumDense(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerElu(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerEmbedding(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerFlatten(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerGlobalPooling(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerGroupNormalization(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerGroupedQueryAttention(const LayerScope& scope,
                                                    const CallInputs& inputs);
std::vector<KerasTensor> LowerHashedCrossing(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerHashing(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerHighway(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerIdentity(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerIntegerLookup(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerLambda(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerLayerNormalization(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerLayerScale(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerLeakyRelu(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerLocallyConnected(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerMasking(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerMaximum(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerMaxoutDense(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerMelSpectrogram(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerMerge(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerMinimum(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerMultiHeadAttention(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerMultiply(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerNormalization(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerPRelu(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerParametricSoftplus(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerPermute(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerPooling(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerRandomFourierFeatures(const LayerScope& scope,
                                                    const CallInputs& inputs);
std::vector<KerasTensor> LowerReLU(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerRandomCrop(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerRecurrent(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerRepeatVector(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerRescaling(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerReshape(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerResizing(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerRmsNormalization(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerRnn(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerSRelu(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerSeparableConv(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerSoftmax(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerSpectralNormalization(const LayerScope& scope,
                                                    const CallInputs& inputs);
std::vector<KerasTensor> LowerStftSpectrogram(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerStringLookup(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerSubtract(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerTextVectorization(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerThresholdedRelu(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerTimeDistributed(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerUnitNormalization(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerUpSampling(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerFeatureColumns(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerPipeline(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerReversibleEmbedding(const LayerScope& scope,
                                                  const CallInputs& inputs);
std::vector<KerasTensor> LowerUnsupported(const LayerScope& scope, const CallInputs& inputs);
std::vector<KerasTensor> LowerZeroPadding(const LayerScope& scope, const CallInputs& inputs);

// Calls a Python function of the layer's config: stored code, or a library's
// function by its name. Others are refused as LAMBDA_BYTECODE or LAMBDA_NAMED_FUNCTION.
std::vector<KerasTensor> LowerPythonFunction(const LayerScope& scope, const ConfigValue& function,
                                             const CallInputs& inputs);

std::vector<WeightRole> AdditiveAttentionWeights(const Layer& layer, const Writer& writer);
std::vector<WeightRole> AttentionWeights(const Layer& layer, const Writer& writer);
std::vector<WeightRole> BatchNormalizationWeights(const Layer& layer, const Writer& writer);
std::vector<WeightRole> ConvWeights(const Layer& layer, const Writer& writer);
std::vector<WeightRole> DenseWeights(const Layer& layer, const Writer& writer);
std::vector<WeightRole> DepthwiseConvWeights(const Layer& layer, const Writer& writer);
std::vector<WeightRole> DiscretizationWeights(const Layer& layer, const Writer& writer);
std::vector<WeightRole> EinsumDenseWeights(const Layer& layer, const Writer& writer);
std::vector<WeightRole> EmbeddingWeights(const Layer& layer, const Writer& writer);
std::vector<WeightRole> HighwayWeights(const Layer& layer, const Writer& writer);
std::vector<WeightRole> KernelBiasWeights(const Layer& layer, const Writer& writer);
std::vector<WeightRole> LayerScaleWeights(const Layer& layer, const Writer& writer);
std::vector<WeightRole> MultiHeadAttentionWeights(const Layer& layer, const Writer& writer);
std::vector<WeightRole> NormalizationWeights(const Layer& layer, const Writer& writer);
std::vector<WeightRole> PReluWeights(const Layer& layer, const Writer& writer);
std::vector<WeightRole> ParametricSoftplusWeights(const Layer& layer, const Writer& writer);
std::vector<WeightRole> RandomFourierFeaturesWeights(const Layer& layer, const Writer& writer);
std::vector<WeightRole> RecurrentWeights(const Layer& layer, const Writer& writer);
std::vector<WeightRole> ReversibleEmbeddingWeights(const Layer& layer, const Writer& writer);
std::vector<WeightRole> RmsNormalizationWeights(const Layer& layer, const Writer& writer);
std::vector<WeightRole> SReluWeights(const Layer& layer, const Writer& writer);
std::vector<WeightRole> ScaleCenterWeights(const Layer& layer, const Writer& writer);
std::vector<WeightRole> StftSpectrogramWeights(const Layer& layer, const Writer& writer);
std::vector<WeightRole> SeparableConvWeights(const Layer& layer, const Writer& writer);
std::vector<WeightRole> SpectralNormalizationWeights(const Layer& layer, const Writer& writer);

}  // namespace h5serve::model
