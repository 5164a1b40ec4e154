import NormaNN
import NormaTensor

/// The common part of the layers that normalize by pooled moments: checks, parameters, running
/// statistics. A member of the family states its partitions and its options.
///
/// Input [N, C, spatial…] with any number of spatial dimensions, also none.
open class NormalizationLayer: Module, Layer {
  public let channels: Int
  /// γ [C], initially 1; nil without `affine`.
  public let weight: Parameter?
  /// β [C], initially 0; nil without `affine`.
  public let bias: Parameter?
  /// Added to the variance.
  public let epsilon: Double

  init(channels: Int, epsilon: Double, affine: Bool) throws {
    guard channels > 0, epsilon > 0 else {
      throw NormalizationError(
        "a normalization needs at least one channel and epsilon > 0, got \(channels) channels and epsilon \(epsilon)"
      )
    }
    self.channels = channels
    self.epsilon = epsilon
    weight = affine ? try Parameter(Tensor.ones([channels])) : nil
    bias = affine ? try Parameter(Tensor.zeros([channels])) : nil
  }

  /// The partitions whose statistics are mixed, in order.
  var partitions: [Partition] { preconditionFailure("a subclass states its partitions") }

  /// The running statistics that replace the batch's in evaluation, or nil.
  var runningStatistics: RunningStatistics? { nil }

  /// Logits of the mixing weights [K], or nil for one partition.
  var mixLogits: (mean: Parameter, variance: Parameter)? { nil }

  public func forward(_ input: Tensor) throws -> Tensor { try forward(input, activation: .none) }

  /// Normalizes and applies the activation to the result, in one pass where there is a kernel for both.
  /// - Parameter inputBias: [C], added to the input's channels first; it costs no pass over the data.
  public final func callAsFunction(
    _ input: Tensor, activation: Activation, inputBias: Tensor? = nil
  ) throws -> Tensor {
    try observed(input) { try forward(input, activation: activation, inputBias: inputBias) }
  }

  /// ``callAsFunction(_:activation:inputBias:)`` without telling observers.
  public final func forward(_ input: Tensor, activation: Activation, inputBias: Tensor? = nil) throws -> Tensor {
    let shape = input.shape
    guard input.rank >= 2, shape[1] == channels else {
      throw NormalizationError(
        "\(Self.self) of \(channels) channels expected [N, \(channels), spatial…], got \(shape)")
    }
    guard input.count > 0 else {
      throw NormalizationError("\(Self.self) cannot normalize an empty tensor of shape \(shape)")
    }
    if let inputBias, inputBias.shape != [channels] {
      throw NormalizationError("an input bias of shape [\(channels)] was expected, got \(inputBias.shape)")
    }
    let running = runningStatistics
    let branches = try partitions.map { partition -> Branch in
      if partition == .batch, !isTraining, let running { return try running.branch }
      return .pooled(partition)
    }
    let positions = shape.dropFirst(2).reduce(1, *)
    func values(_ partition: Partition) -> Int {
      partition.valuesPerPart(samples: shape[0], channels: channels, positions: positions)
    }
    if isTraining, partitions.allSatisfy({ values($0) == 1 }) {
      throw NormalizationError(
        "\(Self.self) cannot train on \(shape): every statistic would be taken over one value, so the output would "
          + "not depend on the input; use more samples per batch, more spatial positions or a norm that pools channels"
      )
    }
    let fused = FusedActivation(activation)
    let normalization = MomentNormalization(
      branches: branches, meanLogits: mixLogits?.mean.value, varianceLogits: mixLogits?.variance.value,
      weight: weight?.value, bias: bias?.value, inputBias: inputBias, epsilon: epsilon, activation: fused ?? .none)
    let (output, mix) = try normalization(input)
    if isTraining, let running, let index = partitions.firstIndex(of: .batch) {
      try running.update(mix.statistics(ofBranch: index), valuesPerChannel: values(.batch))
    }
    return fused == nil ? try activation.consuming(output) : output
  }
}

/// A normalization that cannot be made or applied: what was expected and what came.
public struct NormalizationError: Error, CustomStringConvertible, Sendable {
  public let description: String
  init(_ description: String) { self.description = description }
}

/// Exponential averages of the batch statistics, for evaluation.
final class RunningStatistics {
  let mean: Buffer
  let variance: Buffer
  /// The share of the new batch in every update (PyTorch's convention; 0.1 keeps 0.9).
  let momentum: Double
  /// Whether the variance's update is multiplied by n / (n − 1).
  let unbiased: Bool

  init(mean: Buffer, variance: Buffer, momentum: Double, unbiased: Bool) {
    self.mean = mean
    self.variance = variance
    self.momentum = momentum
    self.unbiased = unbiased
  }

  /// The averages as a branch; numbers, since a later training step changes the buffers in place.
  var branch: Branch {
    get throws { .fixed(mean: try mean.value.array(), variance: try variance.value.array()) }
  }

  func update(_ batch: (mean: [Double], variance: [Double]), valuesPerChannel count: Int) throws {
    let correction = unbiased && count > 1 ? Double(count) / Double(count - 1) : 1
    try mean.value.average(with: batch.mean, share: momentum)
    try variance.value.average(with: batch.variance.map { $0 * correction }, share: momentum)
  }
}

extension Tensor {
  /// self ← self + share (values − self).
  fileprivate func average(with values: [Double], share: Double) throws {
    let values = try Tensor(values).to(dtype: dtype).to(device: device)
    try withoutGradients { try lerp(to: values, share: share) }
  }
}
