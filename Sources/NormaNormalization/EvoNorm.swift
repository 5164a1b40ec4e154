import NormaNN
import NormaTensor

/// Evolved normalization and activation in one layer, in two forms; takes the place of a norm and a ReLU.
///
///     S0:  y = γ x sigmoid(v x) / √(σ²_ng + ε) + β
///     B0:  y = γ x / max(√(σ²_c + ε), v x + √(σ²_nc + ε)) + β
///
/// S0 divides by the deviation of groups of channels of one sample, training and evaluation are alike. B0 uses the variance
/// of the batch, in evaluation its running average (`running_var`, unbiased), and that of the plane. Parameters `weight` γ,
/// `bias` β, `v` [C].
///
/// Liu et al. 2020, "Evolving Normalization-Activation Layers", table 1.
public final class EvoNorm: Module, ActivatingLayer, StatisticsKeeping {
  /// Which of the two layers of the paper.
  public enum Form: Sendable, Hashable {
    /// Sample-based; nil groups means min(32, C) of them, as the paper's 32.
    case s0(groups: Int?)
    /// Batch-based.
    case b0(momentum: Double)
  }

  /// C, the extent of the input's second dimension.
  public let channels: Int
  /// S0 or B0, with the number of groups or the momentum as given.
  public let form: Form
  /// Added to every variance.
  public let epsilon: Double
  /// Whether B0's batch is that of all processes that train together.
  public let isSynchronized: Bool
  /// γ [C], initially 1.
  public let weight: Parameter
  /// β [C], initially 0.
  public let bias: Parameter
  /// What multiplies x in the sigmoid (S0) or in the maximum (B0): [C], initially 1.
  public let v: Parameter
  /// B0's average of the batches' unbiased variances: [C], initially 1; nil for S0.
  public let runningVar: Buffer?
  var estimation: StatisticsEstimate?

  /// - Parameter isSynchronized: whether B0 takes the batch's variance over all processes that train together.
  /// - Throws: ``NormalizationError`` when the groups do not divide the channels.
  public init(channels: Int, form: Form, epsilon: Double = 1e-5, isSynchronized: Bool = false) throws {
    var share: Double?
    if case .b0(let momentum) = form { share = momentum }
    try NormalizationError.check(channels: channels, epsilon: epsilon, momentum: share)
    if case .s0(let groups?) = form { try Partition.checkGroups(groups, channels: channels) }
    self.channels = channels
    self.form = form
    self.epsilon = epsilon
    self.isSynchronized = isSynchronized
    weight = try Parameter(Tensor.ones([channels]))
    bias = try Parameter(Tensor.zeros([channels]))
    v = try Parameter(Tensor.ones([channels]))
    if case .b0 = form { runningVar = Buffer(try Tensor.ones([channels])) } else { runningVar = nil }
  }

  /// What training takes variances over.
  package var partitions: [Partition] {
    switch form {
    case .s0(let groups): [.group(groups ?? Partition.defaultGroups(channels: channels))]
    case .b0: [isSynchronized ? .synchronized : .batch, .instance]
    }
  }

  /// The activation is the layer's own, whichever is asked for.
  public func forward(_ input: Tensor, activation: Activation) throws -> Tensor { try forward(input) }

  /// [N, C, spatial…] → the same shape. In training B0 takes the batch's variance into the running one.
  /// - Throws: ``NormalizationError`` for an input of another shape, not of floating point or without values,
  ///   or where every variance would be taken over one value.
  public func forward(_ input: Tensor) throws -> Tensor {
    try NormalizationError.check(input, channels: channels, of: Self.self)
    // In evaluation B0 has running variances beside those of planes, which may then be of single values.
    if isTraining || runningVar == nil { try NormalizationError.checkValues(of: partitions, in: input, Self.self) }
    let scaled = try input * v.value.perChannel(of: input)
    func deviation(_ variance: Tensor) throws -> Tensor {
      let root = try (variance + epsilon).squareRoot().to(dtype: input.dtype)
      return try root.reshaped(root.shape + input.shape.dropFirst(2).map { _ in 1 })
    }
    let normalized: Tensor
    switch form {
    case .s0:
      normalized = try input * scaled.sigmoid() / deviation(input.pooledMoments(partitions)[0].variance)
    case .b0:
      let (moments, values) = try input.countedMoments(isTraining ? partitions : [.instance])
      let batch: Tensor
      if isTraining {
        batch = moments[0].variance
        if let running = runningStatistics {
          let found = (
            mean: try moments[0].mean.selected(0).array(of: Double.self),
            variance: try batch.selected(0).array(of: Double.self)
          )
          try track(found, running, valuesPerChannel: values ?? input.count / channels)
        }
      } else {
        batch = try runningVar!.value.reshaped([1, channels])
      }
      normalized = try input / Tensor.maximum(deviation(batch), scaled + deviation(moments.last!.variance))
    }
    return try normalized * weight.value.perChannel(of: input) + bias.value.perChannel(of: input)
  }

  var keptStatistics: RunningStatistics? { runningStatistics }

  /// B0 in evaluation too has those of planes.
  var takesImageStatistics: Bool { true }

  var runningStatistics: RunningStatistics? {
    guard case .b0(let momentum) = form, let runningVar else { return nil }
    return RunningStatistics(
      partition: partitions[0], mean: nil, variance: runningVar, momentum: momentum, unbiased: true)
  }
}

extension NormalizationKind {
  static let evoS0 = NormalizationKind(
    name: "evo-s0", title: "EvoNorm S0",
    summary: "A normalization and activation in one, found by search; statistics of groups of channels of one sample.",
    options: [
      .init(form: "G", help: "number of groups (default: at most 32, dividing the channels)"),
      .epsilon,
    ],
    formula: "y = γ x sigmoid(v x) / √(σ²_ng + ε) + β", statistics: [.init(.group(2), "variance")], parameters: "3C",
    parameterCount: { 3 * $0 },
    useWhen: "as group normalization with a smooth activation",
    weakness: "slower: several operations where others have one", source: "Liu et al. 2020"
  ) { words in
    let epsilon = try words.epsilon() ?? 1e-5
    let groups = try words.groups()
    return { try EvoNorm(channels: $0, form: .s0(groups: groups), epsilon: epsilon) }
  }

  static let evoB0 = NormalizationKind(
    name: "evo-b0", title: "EvoNorm B0",
    summary: "A normalization and nonlinearity in one, found by search; statistics of the batch and of planes.",
    options: [
      .init(form: "momentum=SHARE", help: "share of the new batch in the running variance (default: 0.1)"),
      .init(form: "epsilon=E", help: "added to the variances (default: 1e-5)"),
      .init(form: "synchronized", help: "the batch's variance is taken over all workers"),
    ],
    formula: "y = γ x / max(√(σ²_c + ε), v x + √(σ²_nc + ε)) + β",
    statistics: [.init(.batch, "variance"), .init(.instance, "variance")], parameters: "3C",
    parameterCount: { 3 * $0 },
    useWhen: "as batch normalization, with large batches",
    weakness: "depends on the batch; slower: several operations where others have one", source: "Liu et al. 2020"
  ) { words in
    let epsilon = try words.epsilon() ?? 1e-5
    let momentum = try words.momentum() ?? 0.1
    let isSynchronized = words.flag("synchronized")
    return {
      try EvoNorm(channels: $0, form: .b0(momentum: momentum), epsilon: epsilon, isSynchronized: isSynchronized)
    }
  }
}
