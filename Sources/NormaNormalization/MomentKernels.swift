import NormaNN
import NormaTensor

/// The passes over the data that every normalization of the family is made of: moments, scale and shift,
/// reduction of the gradient, application of the gradient. `x` and `g` are [N, C, spatial…].
///
/// Everything else that a member needs are N×C numbers in between (``MomentMix``), so a faster implementation for
/// some device replaces these functions and nothing else.
protocol MomentKernels: Sendable {
  /// The table that a mix over x works on. It may see samples as further positions where every branch has
  /// the samples in common.
  /// - Parameter keepsSamples: whether the planes of different samples must stay apart: weight or bias differ, or every plane's variance
  ///   is multiplied by a factor.
  func shape(of x: Tensor, branches: [Branch], keepsSamples: Bool) -> MomentShape

  /// Moments of x, the mix's solution, and act(scale · (x − center) + shift): a fresh tensor.
  func forward(_ x: Tensor, _ mix: MomentMix, _ activation: FusedActivation) throws -> Tensor

  /// Σ g (x − center) and Σ g, the gradient's solution, and dx = scale · g + factor · (x − center) + offset, with g
  /// first taken through the activation: a fresh tensor.
  func backward(_ g: Tensor, x: Tensor, _ mix: MomentMix, _ gradient: MomentGradient, _ activation: FusedActivation)
    throws -> Tensor

  /// The second half of ``forward(_:_:_:)`` with the coefficients that the mix has: the same output again.
  func replay(_ x: Tensor, _ mix: MomentMix, _ activation: FusedActivation) throws -> Tensor

  /// The first pass alone: moments of x into `mix.mean` and `mix.variance`.
  func moments(of x: Tensor, into mix: MomentMix) throws
}

/// An activation that kernels compute with the scale and shift, and differentiate by the sign of its argument.
enum FusedActivation: Sendable {
  case none
  case relu
  case leakyReLU(slope: Double)

  /// nil for an activation that has to be an operation of its own.
  init?(_ activation: Activation) {
    switch activation {
    case .none: self = .none
    case .relu: self = .relu
    case .leakyReLU(let slope): self = .leakyReLU(slope: slope)
    case .sigmoid, .tanh, .silu, .gelu: return nil
    }
  }
}

extension MomentShape {
  init(_ x: Tensor) {
    let shape = x.shape
    self.init(samples: shape[0], channels: shape[1], positions: shape.dropFirst(2).reduce(1, *))
  }
}
