import NormaDistributed
import NormaNN
import NormaTensor

/// The common part of the layers that normalize by pooled moments: checks, parameters, running
/// statistics. A member of the family states its partitions and its options.
///
/// Input [N, C, spatial…] with any number of spatial dimensions, also none; float32, float64 or bfloat16. Where the input is
/// neither contiguous nor channels-last, it is copied into the nearer of the two; the output has that layout.
public class NormalizationLayer: Module, ActivatingLayer, StatisticsKeeping, CustomStringConvertible {
  /// C, the extent of the input's second dimension.
  public let channels: Int
  /// γ [C], initially 1; nil without a learned scale.
  public let weight: Parameter?
  /// β [C], initially 0; nil without a learned center.
  public let bias: Parameter?
  /// Added to the variance.
  public let epsilon: Double

  final var estimation: StatisticsEstimate?

  init(channels: Int, epsilon: Double, scale: Bool, center: Bool, initialScale: Double = 1) throws {
    try NormalizationError.check(channels: channels, epsilon: epsilon)
    self.channels = channels
    self.epsilon = epsilon
    weight = scale ? try Parameter(Tensor.full([channels], initialScale)) : nil
    bias = center ? try Parameter(Tensor.zeros([channels])) : nil
  }

  /// What training takes statistics over, in the mix's order.
  package final var partitions: [Partition] { get throws { try branches.compactMap(\.partition) } }

  /// The statistics that are mixed, in order.
  var branches: [Branch] { get throws { preconditionFailure("a subclass states its branches") } }

  /// How much of each branch.
  var mixture: Mixture { get throws { .one } }

  /// The running statistics that replace the batch's in evaluation, or nil.
  var runningStatistics: RunningStatistics? { nil }

  /// The running statistics, or fixed ones.
  var keptStatistics: RunningStatistics? { runningStatistics }

  /// What the variances of planes are multiplied with before they are pooled.
  /// - Parameter positions: values of a plane.
  func varianceFactor(positions: Int) -> Double { 1 }

  /// The correction of a training batch towards the running statistics.
  func renormalization() throws -> Renormalization? { nil }

  /// γ and β for an input: [C], or [N, C].
  func affine() throws -> (weight: Tensor?, bias: Tensor?) { (weight?.value, bias?.value) }

  /// Such as `GroupNorm(64 channels, ε 1e-05)`.
  public var description: String { "\(Self.self)(\(channels) channels, ε \(epsilon))" }

  /// What follows the normalization inside the layer.
  func finish(_ output: Tensor) throws -> Tensor { output }

  /// Whether the layer is its own activation, so that a block leaves out the one it has.
  public var replacesActivation: Bool { false }

  /// [N, C, spatial…] → the same shape, with no activation but the layer's own.
  /// Training updates the running statistics, where there are any.
  /// - Throws: ``NormalizationError`` for an input of another shape, not of floating point or without values,
  ///   or where every mean and variance would be taken over one value.
  public func forward(_ input: Tensor) throws -> Tensor { try forward(input, activation: .none) }

  /// Normalizes and applies the activation to the result, in one pass where there is a kernel for both.
  /// - Parameter inputBias: [C], added to the input's channels first; it costs no pass over the data.
  public final func callAsFunction(
    _ input: Tensor, activation: Activation, inputBias: Tensor? = nil
  ) throws -> Tensor {
    try observed(input) { try forward(input, activation: activation, inputBias: inputBias) }
  }

  /// ``callAsFunction(_:activation:inputBias:)`` without telling observers.
  public final func forward(_ input: Tensor, activation: Activation) throws -> Tensor {
    try forward(input, activation: activation, inputBias: nil)
  }

  /// ``callAsFunction(_:activation:inputBias:)`` without telling observers.
  public final func forward(_ input: Tensor, activation: Activation, inputBias: Tensor?) throws -> Tensor {
    let shape = try check(input)
    if let inputBias, inputBias.shape != [channels] {
      throw NormalizationError("an input bias of shape [\(channels)] was expected, got \(inputBias.shape)")
    }
    let running = runningStatistics
    let (used, measured) = try usedBranches(running)
    let looksAtData = used.contains { $0.partition != nil }
    let moments = looksAtData ? try ImageMoments.current?.moments(entering: input) : nil
    let pooled = used.compactMap { if case .pooled(let partition) = $0 { partition } else { nil } }
    if pooled.count == used.count, moments == nil {
      try NormalizationError.checkValues(of: pooled, in: input, Self.self)
    }
    let activation = replacesActivation ? .none : activation
    let (weight, bias) = try affine()
    if moments == nil, !OperatorTrace.isRecording, let rows = VectorRows(used, try mixture, input, weight, bias) {
      return try finish(activation.consuming(rows.normalized(input, weight, bias, inputBias, epsilon: epsilon)))
    }
    let fused = FusedActivation(activation)
    var normalization = MomentNormalization(
      branches: used, mixture: try mixture, weight: weight, bias: bias, inputBias: inputBias, epsilon: epsilon,
      varianceFactor: varianceFactor(positions: moments?.positions ?? shape.positions),
      renormalization: try renormalization(), activation: fused ?? .none, kept: keptStatistics)
    if let moments { normalization = try normalization.fixed(by: moments, for: input) }
    let (output, mix) = try normalization(input)
    if isTraining, let running, let measured {
      try track(
        mix.statistics(ofBranch: measured), running,
        valuesPerChannel: mix.synchronizedValues.map { Int($0) } ?? running.partition.valuesPerPart(shape))
    }
    return try finish(fused == nil ? try activation.consuming(output) : output)
  }

  /// The branches of a pass, in evaluation with running statistics in the place of those that they average; and which branch
  /// that is.
  private func usedBranches(_ running: RunningStatistics?) throws -> (branches: [Branch], measured: Int?) {
    var used = try branches
    let measured = running.flatMap { running in used.firstIndex { $0.partition == running.partition } }
    if let running, let measured, !isTraining { used[measured] = try running.branch }
    return (used, measured)
  }

  final var takesImageStatistics: Bool {
    get throws { try usedBranches(runningStatistics).branches.contains { $0.partition != nil } }
  }

  /// - Throws: ``NormalizationError`` for an input that this layer cannot take.
  func check(_ input: Tensor) throws -> MomentShape {
    try NormalizationError.check(input, channels: channels, of: Self.self)
    return MomentShape(input)
  }

  /// The published code of several members keeps parameters as [1, C, 1, 1].
  override public func loadable(_ tensor: Tensor, for key: String, shape: [Int]) throws -> Tensor {
    tensor.shape.filter { $0 != 1 } == shape.filter { $0 != 1 } ? try tensor.reshaped(shape) : tensor
  }
}

/// Statistics of one sample's channels where there are no positions: a table of moments would be as large as the data, so
/// libtorch's operators over rows take its place.
private struct VectorRows {
  private let isCentred: Bool
  /// Values of a row.
  private let size: Int

  /// nil where the way of all others is to be taken: for other statistics, and for parameters of a type of their own.
  init?(_ branches: [Branch], _ mixture: Mixture, _ input: Tensor, _ weight: Tensor?, _ bias: Tensor?) {
    guard input.rank == 2, branches.count == 1, case .one = mixture,
      [weight, bias].allSatisfy({ $0.map { $0.rank == 1 && $0.dtype == input.dtype.accumulation } ?? true })
    else { return nil }
    switch branches[0] {
    case .pooled(let partition) where !partition.spansSamples:
      (isCentred, size) = (true, partition.channelsPerPart(input.shape[1]))
    case .uncentred(let partition) where !partition.spansSamples:
      (isCentred, size) = (false, partition.channelsPerPart(input.shape[1]))
    default: return nil
    }
  }

  func normalized(
    _ input: Tensor, _ weight: Tensor?, _ bias: Tensor?, _ inputBias: Tensor?, epsilon: Double
  ) throws -> Tensor {
    var x = try input.to(dtype: input.dtype.accumulation)
    if let inputBias { x = try x + inputBias.to(dtype: x.dtype) }
    var rows = try x.reshaped([-1, size])
    if isCentred {
      // Taken near zero first, which changes no result but keeps the digits of rows that lie far from it.
      let near = try withoutGradients { try rows.mean([1], keepDimensions: true) }
      rows = try rows - near
      // A row of all channels has the parameters' extent.
      if size == input.shape[1] {
        return try rows.layerNormalized([size], weight: weight, bias: bias, epsilon: epsilon).to(dtype: input.dtype)
      }
    }
    var y =
      try isCentred ? rows.layerNormalized([size], epsilon: epsilon) : rows.rmsNormalized([size], epsilon: epsilon)
    y = try y.reshaped(input.shape)
    if let weight { y = try y * weight }
    if let bias { y = try y + bias }
    return try y.to(dtype: input.dtype)
  }
}

extension NormalizationError {
  /// - Throws: where every statistic would be taken over a single value.
  static func checkValues(of partitions: [Partition], in input: Tensor, _ layer: any Layer.Type) throws {
    let shape = MomentShape(input)
    // How many there are in other processes shows when they are asked.
    let isAlone = ProcessGroup.current == nil || !partitions.contains(.synchronized)
    guard isAlone, partitions.allSatisfy({ $0.valuesPerPart(shape) == 1 }) else { return }
    let remedies =
      (partitions.contains(where: \.spansSamples) ? ["more samples per batch"] : [])
      + ["more spatial positions", "statistics of several channels (fewer groups, layer normalization)"]
    throw NormalizationError(
      "\(layer) cannot normalize \(input.shape): every statistic would be taken over one value, so the output would "
        + "not depend on the input; use \(remedies.joined(separator: ", or "))")
  }
}

/// A normalization that cannot be made or applied: what was expected and what came.
public struct NormalizationError: Error, CustomStringConvertible, Sendable {
  /// The whole message: what was expected, what came and, where it helps, what to do.
  public let description: String
  /// - Parameter description: the message, as ``description`` gives it.
  public init(_ description: String) { self.description = description }

  static func check(channels: Int, epsilon: Double, momentum: Double? = nil) throws {
    guard channels > 0, epsilon > 0, epsilon.isFinite else {
      throw NormalizationError(
        "a normalization needs at least one channel and a finite epsilon > 0, got \(channels) channels and epsilon "
          + "\(epsilon)")
    }
    if let momentum, !(0...1).contains(momentum) {
      throw NormalizationError("momentum is the share of the new batch, from 0 to 1, got \(momentum)")
    }
  }

  /// An input [N, C, spatial…] of a layer.
  static func check(_ input: Tensor, channels: Int, of layer: any Layer.Type) throws {
    let shape = input.shape
    guard input.rank >= 2, shape[1] == channels else {
      throw NormalizationError("\(layer) of \(channels) channels expected [N, \(channels), spatial…], got \(shape)")
    }
    guard input.dtype.isFloatingPoint else {
      throw NormalizationError("\(layer) normalizes floating-point data, got \(input.dtype); convert it first")
    }
    guard input.count > 0 else {
      throw NormalizationError("\(layer) cannot normalize an empty tensor of shape \(shape)")
    }
  }
}
