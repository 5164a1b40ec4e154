import NormaTensor

/// The four passes over the data that every normalization of the family is made of. `x` and `g` are
/// [N, C, spatial…] in any dense layout; tables are [N, C] in the accumulation type of the data.
///
/// Together with the pooling of N×C numbers in between they are all that a member needs, so a faster
/// implementation replaces these four functions and nothing else.
protocol MomentKernels: Sendable {
  /// Mean and biased variance of every plane.
  func moments(of x: Tensor) throws -> Moments

  /// y = scale · (x − center) + shift.
  ///
  /// The center is separate so that an implementation can subtract it before scaling, which keeps the digits
  /// that scale · x + shift' loses when the mean is large.
  func scaleShift(_ x: Tensor, scale: Tensor, center: Tensor, shift: Tensor) throws -> Tensor

  /// Σ g · (x − center) and Σ g over every plane.
  func reductions(gradient g: Tensor, x: Tensor, center: Tensor) throws -> GradientSums

  /// dx = scale · g + factor · (x − center) + shift.
  func apply(gradient g: Tensor, x: Tensor, scale: Tensor, factor: Tensor, center: Tensor, shift: Tensor)
    throws -> Tensor
}

/// Mean and biased variance of every (sample, channel) plane: tables [N, C].
struct Moments {
  let mean: Tensor
  let variance: Tensor
}

/// What one pass over the gradient gives: tables [N, C].
struct GradientSums {
  /// Σ g · (x − center).
  let products: Tensor
  /// Σ g.
  let sums: Tensor
}
