#include "compute/ops/resize_weights.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace h5serve::compute::ops {
namespace {

// R. Keys, "Cubic convolution interpolation for digital image processing", 1981.
double KeysCubic(double x, double a) {
  if (x >= 2) return 0;
  if (x >= 1) return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
  return ((a + 2) * x - (a + 3)) * x * x + 1;
}

// D. Mitchell, A. Netravali, "Reconstruction filters in computer graphics",
// 1988, with B = C = 1/3.
double MitchellCubic(double x) {
  if (x >= 2) return 0;
  if (x >= 1) return ((-7.0 / 18 * x + 2) * x - 10.0 / 3) * x + 16.0 / 9;
  return (7.0 / 6 * x - 2) * x * x + 8.0 / 9;
}

double Lanczos(double x, double radius) {
  if (x >= radius) return 0;
  if (x < 1e-8) return 1;
  const double t = std::numbers::pi * x;
  return radius * std::sin(t) * std::sin(t / radius) / (t * t);
}

double Gaussian(double x, double radius) {
  if (x >= radius) return 0;
  const double sigma = radius / 3;
  return std::exp(-x * x / (2 * sigma * sigma));
}

// Where a kernel ends, in cells.
double Radius(ResizeMethod method) {
  switch (method) {
    case ResizeMethod::kLanczos3:
      return 3;
    case ResizeMethod::kLanczos5:
      return 5;
    case ResizeMethod::kBicubic:
    case ResizeMethod::kMitchell:
      return 2;
    case ResizeMethod::kGaussian:
      return 1.5;
    default:
      return 1;
  }
}

// The kernel at a distance of x >= 0 cells. TensorFlow's older bicubic resizing,
// without half-pixel centres, has a = -0.75.
double KernelAt(const ResizeAttributes& attributes, double x) {
  switch (attributes.method) {
    case ResizeMethod::kBicubic:
      return KeysCubic(x, attributes.half_pixel_centers ? -0.5 : -0.75);
    case ResizeMethod::kLanczos3:
      return Lanczos(x, 3);
    case ResizeMethod::kLanczos5:
      return Lanczos(x, 5);
    case ResizeMethod::kGaussian:
      return Gaussian(x, 1.5);
    case ResizeMethod::kMitchell:
      return MitchellCubic(x);
    default:
      return std::max(0.0, 1 - x);
  }
}

double ScaleOf(const ResizeAttributes& attributes, int64_t in, int64_t out) {
  if (attributes.align_corners && out > 1) {
    return static_cast<double>(in - 1) / static_cast<double>(out - 1);
  }
  return static_cast<double>(in) / static_cast<double>(out);
}

// The weights of one place as they are collected, over cells [first, first + size).
struct Place {
  int64_t first = 0;
  std::vector<double> weights;
};

Place NearestPlace(const ResizeAttributes& attributes, int64_t in, int64_t out, int64_t o) {
  // In float32, as TensorFlow has it: exact halves are decided by its rounding.
  const float scale = static_cast<float>(ScaleOf(attributes, in, out));
  const float place = static_cast<float>(o) + (attributes.half_pixel_centers ? 0.5f : 0.0f);
  const float cell =
      attributes.align_corners ? std::round(place * scale) : std::floor(place * scale);
  return {std::clamp<int64_t>(static_cast<int64_t>(cell), 0, in - 1), {1.0}};
}

// The mean of [o, o + 1) on the old axis, parts of cells in proportion.
Place AreaPlace(const ResizeAttributes& attributes, int64_t in, int64_t out, int64_t o) {
  const double scale = ScaleOf(attributes, in, out);
  const double begin = static_cast<double>(o) * scale;
  const double end = static_cast<double>(o + 1) * scale;
  Place place;
  place.first = std::clamp<int64_t>(static_cast<int64_t>(std::floor(begin)), 0, in - 1);
  const int64_t last =
      std::clamp<int64_t>(static_cast<int64_t>(std::ceil(end - 1e-9)) - 1, place.first, in - 1);
  double total = 0;
  for (int64_t cell = place.first; cell <= last; ++cell) {
    const double overlap =
        std::min(end, static_cast<double>(cell + 1)) - std::max(begin, static_cast<double>(cell));
    place.weights.push_back(std::max(overlap, 0.0));
    total += place.weights.back();
  }
  if (total <= 0) {
    place.weights.assign(1, 1.0);
    total = 1;
  }
  for (double& weight : place.weights) weight /= total;
  return place;
}

Place KernelPlace(const ResizeAttributes& attributes, int64_t in, int64_t out, int64_t o) {
  const double scale = ScaleOf(attributes, in, out);
  const double centre = attributes.half_pixel_centers ? (static_cast<double>(o) + 0.5) * scale - 0.5
                                                      : static_cast<double>(o) * scale;
  const double stretch = attributes.antialias ? std::max(scale, 1.0) : 1.0;
  const double radius = Radius(attributes.method) * stretch;
  const int64_t begin = static_cast<int64_t>(std::ceil(centre - radius));
  const int64_t end = static_cast<int64_t>(std::floor(centre + radius));
  // TensorFlow's older bicubic repeats the edge, whatever is asked for.
  const bool renormalize = attributes.renormalize && attributes.half_pixel_centers;
  Place place;
  place.first = std::clamp<int64_t>(begin, 0, in - 1);
  place.weights.assign(std::clamp<int64_t>(end, 0, in - 1) - place.first + 1, 0.0);
  double total = 0;
  for (int64_t cell = begin; cell <= end; ++cell) {
    if (renormalize && (cell < 0 || cell >= in)) continue;
    const double weight =
        KernelAt(attributes, std::abs(static_cast<double>(cell) - centre) / stretch);
    place.weights[std::clamp<int64_t>(cell, 0, in - 1) - place.first] += weight;
    total += weight;
  }
  if (std::abs(total) > 1e-30) {
    for (double& weight : place.weights) weight /= total;
  }
  return place;
}

}  // namespace

bool AxisWeights::IsIdentity() const {
  if (in != out) return false;
  for (int64_t o = 0; o < out; ++o) {
    for (int64_t j = 0; j < taps; ++j) {
      if (weights[o * taps + j] != (first[o] + j == o ? 1.0f : 0.0f)) return false;
    }
    if (o < first[o] || o >= first[o] + taps) return false;
  }
  return true;
}

AxisWeights ComputeAxisWeights(const ResizeAttributes& attributes, int64_t in, int64_t out) {
  std::vector<Place> places;
  places.reserve(out);
  AxisWeights result{.in = in, .out = out, .taps = 1, .first = {}, .weights = {}};
  for (int64_t o = 0; o < out; ++o) {
    switch (attributes.method) {
      case ResizeMethod::kNearest:
        places.push_back(NearestPlace(attributes, in, out, o));
        break;
      case ResizeMethod::kArea:
        places.push_back(AreaPlace(attributes, in, out, o));
        break;
      default:
        places.push_back(KernelPlace(attributes, in, out, o));
    }
    result.taps = std::max(result.taps, static_cast<int64_t>(places.back().weights.size()));
  }
  result.weights.assign(out * result.taps, 0.0f);
  for (int64_t o = 0; o < out; ++o) {
    const Place& place = places[o];
    // Places with fewer cells than the others begin earlier at the end of the axis.
    const int64_t first = std::min(place.first, in - result.taps);
    result.first.push_back(first);
    float* to = &result.weights[o * result.taps + place.first - first];
    for (size_t j = 0; j < place.weights.size(); ++j) {
      to[j] = static_cast<float>(place.weights[j]);
    }
  }
  return result;
}

}  // namespace h5serve::compute::ops
