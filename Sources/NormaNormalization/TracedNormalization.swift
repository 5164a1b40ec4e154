import NormaTensor

/// What a normalization by pooled moments says of itself where operators are recorded. The call's arguments are the input, γ and β.
package struct TracedNormalization: Sendable {
  package static let name = "norma::normalization"

  package enum Branch: Sendable {
    case pooled(Partition)
    /// Mean squares in the place of variances, and no mean.
    case uncentred(Partition)
    /// [C]; no mean stands for zeros.
    case fixed(mean: Tensor?, variance: Tensor)
  }

  /// How much of each branch, for the mean and for the variance.
  package enum Mix: Sendable {
    case shares(mean: [Double], variance: [Double])
    /// softmax(logits / temperature).
    case softmax(mean: Tensor, variance: Tensor, temperature: Double)
  }

  package let branches: [Branch]
  package let mix: Mix
  package let epsilon: Double
  /// Whether planes have the variance with M − 1 in the place of M.
  package let hasUnbiasedPlanes: Bool
}

/// ``NormaTensor/Tensor/pooledMoments(_:)`` where operators are recorded: its results are mean and variance [N, C] of every
/// partition in turn.
package struct TracedMoments: Sendable {
  package static let name = "norma::pooled_moments"
  package let partitions: [Partition]
}

extension MomentNormalization {
  /// This normalization as one call of an ``OperatorTrace``; the input's bias and the activation are calls of their own.
  func recorded(_ x: Tensor) throws -> (output: Tensor, mix: MomentMix) {
    var plain = self
    (plain.inputBias, plain.activation) = (nil, .none)
    let input = try inputBias.map { try x + $0.perChannel(of: x) } ?? x
    var mix: MomentMix?
    let arguments: [OperatorArgument] = [.tensor(input), .optional(weight), .optional(bias)]
    let output = try OperatorTrace.asOneCall(TracedNormalization.name, arguments, detail: traced()) {
      let (output, solution) = try plain.computed(input)
      mix = solution
      return [output]
    }[0]
    switch activation {
    case .none: return (output, mix!)
    case .relu: return (try output.relu(), mix!)
    case .leakyReLU(let slope): return (try output.leakyReLU(slope: slope), mix!)
    }
  }

  private func traced() throws -> TracedNormalization {
    let mix: TracedNormalization.Mix
    switch mixture {
    case .one: mix = .shares(mean: [1], variance: [1])
    case .fixed(let mean, let variance): mix = .shares(mean: mean, variance: variance)
    case .learned(let mean, let variance, .softmax(let temperature)):
      mix = .softmax(mean: mean, variance: variance, temperature: temperature)
    case .learned(let mean, let variance, let rule):
      mix = .shares(mean: rule.shares(try mean.array()).values, variance: rule.shares(try variance.array()).values)
    }
    return TracedNormalization(
      branches: try branches.map { branch in
        switch branch {
        case .pooled(let partition): .pooled(partition)
        case .uncentred(let partition): .uncentred(partition)
        case .fixed(let mean, let variance):
          // The layer's own tensors where there are any, since these have names.
          .fixed(
            mean: try kept.map { $0.mean?.value } ?? Tensor(mean.map(Float.init)),
            variance: try kept?.variance.value ?? Tensor(variance.map(Float.init)))
        }
      }, mix: mix, epsilon: epsilon, hasUnbiasedPlanes: varianceFactor != 1)
  }
}
