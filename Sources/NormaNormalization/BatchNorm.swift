import NormaNN
import NormaTensor

/// Batch normalization: every channel over all samples and positions.
///
///     y = γ (x − μ_c) / √(σ²_c + ε) + β
///
/// Statistics over (N, spatial…). Parameters `weight` γ [C], `bias` β [C]; state `running_mean`,
/// `running_var` [C], averaged with the share `momentum` of every new batch, and `num_batches_tracked`.
/// Training uses the batch's own statistics (biased variance), evaluation the running ones.
///
/// Ioffe & Szegedy 2015. Defaults as in PyTorch; ``Options/keras`` has those of Keras.
public final class BatchNorm: NormalizationLayer {
  /// What statistics are taken over and kept, and which parameters are learned.
  public struct Options: Sendable, Hashable {
    /// Added to the variance; finite and above 0.
    public var epsilon = 1e-5
    /// The share of the new batch in the running statistics; nil averages all batches alike.
    public var momentum: Double? = 0.1
    /// Whether there is a learned scale γ.
    public var scale = true
    /// Whether there is a learned center β.
    public var center = true
    /// Without running statistics evaluation uses the batch's own, like training.
    public var tracksRunningStatistics = true
    /// Whether the running variance averages n / (n − 1) times the batch's.
    public var unbiasedRunningVariance = true
    /// Statistics in training are taken over sub-batches of so many samples instead of the whole batch ("ghost batches"); the
    /// running ones average over them. Hoffer et al. 2017, algorithm 1.
    public var ghostBatchSize: Int?
    /// Pulls a training batch's statistics towards the running ones.
    public var renormalization: RenormalizationSchedule?
    /// Statistics in training are taken over the samples of all processes that train together, as by `torch.nn.SyncBatchNorm`.
    public var isSynchronized = false

    /// As `torch.nn.BatchNorm*d`.
    public static let pytorch = Options()
    /// As `keras.layers.BatchNormalization`: ε 1e-3, momentum 0.99 of the old (0.01 of the new), biased running variance.
    public static let keras: Options = {
      var options = Options()
      options.epsilon = 1e-3
      options.momentum = 0.01
      options.unbiasedRunningVariance = false
      return options
    }()

    /// PyTorch's defaults: ``pytorch``.
    public init() {}
  }

  /// How far batch renormalization may correct, by training step: plain batch normalization for `warmUp` steps (r = 1, d = 0),
  /// then bounds that widen linearly to `rMax` over `rWidening` and to `dMax` over `dWidening` more.
  ///
  /// Defaults as in Ioffe 2017, section 4.
  public struct RenormalizationSchedule: Sendable, Hashable {
    /// Final bound of the factor r = σ / σ_running: 1 / rMax ≤ r ≤ rMax; at least 1.
    public var rMax = 3.0
    /// Final bound of the offset d = (μ − μ_running) / σ_running: |d| ≤ dMax; at least 0.
    public var dMax = 5.0
    /// Training steps of plain batch normalization, as `num_batches_tracked` counts them.
    public var warmUp = 5000
    /// Steps after the warm-up over which the bound of r goes from 1 to `rMax`; 0 for at once.
    public var rWidening = 35_000
    /// Steps after the warm-up over which the bound of d goes from 0 to `dMax`; 0 for at once.
    public var dWidening = 20_000

    /// The paper's schedule: r reaches its bound after 40,000 steps, d after 25,000.
    public init() {}

    /// The bounds after a number of training steps.
    public func bounds(step: Int) -> (rMax: Double, dMax: Double) {
      func progress(_ widening: Int) -> Double {
        step < warmUp ? 0 : widening == 0 ? 1 : min(1, Double(step - warmUp) / Double(widening))
      }
      return (1 + (rMax - 1) * progress(rWidening), dMax * progress(dWidening))
    }
  }

  /// As given to the initializer; fixed from then on.
  public let options: Options
  /// [C], initially 0; nil without running statistics.
  public let runningMean: Buffer?
  /// [C], initially 1; nil without running statistics.
  public let runningVar: Buffer?
  /// Training batches that the running statistics have seen: an int64 scalar.
  public let numBatchesTracked: Buffer?

  /// - Throws: ``NormalizationError`` for options that contradict each other.
  public init(channels: Int, _ options: Options) throws {
    try NormalizationError.check(channels: channels, epsilon: options.epsilon, momentum: options.momentum)
    if let size = options.ghostBatchSize, size < 1 {
      throw NormalizationError("ghost batches need at least one sample each, got \(size)")
    }
    if options.isSynchronized, options.ghostBatchSize != nil {
      throw NormalizationError("synchronized statistics cannot be those of ghost batches")
    }
    if let schedule = options.renormalization {
      guard options.tracksRunningStatistics, options.ghostBatchSize == nil else {
        throw NormalizationError(
          "batch renormalization needs running statistics and cannot be combined with ghost batches")
      }
      guard schedule.rMax >= 1, schedule.dMax >= 0, min(schedule.warmUp, schedule.rWidening, schedule.dWidening) >= 0
      else {
        throw NormalizationError(
          "batch renormalization needs rMax ≥ 1, dMax ≥ 0 and no negative step counts, got \(schedule)")
      }
    }
    self.options = options
    let tracks = options.tracksRunningStatistics
    runningMean = tracks ? Buffer(try Tensor.zeros([channels])) : nil
    runningVar = tracks ? Buffer(try Tensor.ones([channels])) : nil
    numBatchesTracked = tracks ? Buffer(try Tensor.zeros([], dtype: .int64)) : nil
    try super.init(channels: channels, epsilon: options.epsilon, scale: options.scale, center: options.center)
  }

  /// ``Options/pytorch`` with the given changes.
  /// - Parameters:
  ///   - momentum: the share of the new batch in the running statistics; nil averages all batches alike.
  ///   - affine: false leaves out both γ and β.
  /// - Throws: ``NormalizationError`` for no channels, an epsilon that is not finite and above 0, or a momentum outside of 0…1.
  public convenience init(
    channels: Int, epsilon: Double = 1e-5, momentum: Double? = 0.1, affine: Bool = true
  ) throws {
    var options = Options()
    options.epsilon = epsilon
    options.momentum = momentum
    (options.scale, options.center) = (affine, affine)
    try self.init(channels: channels, options)
  }

  private var partition: Partition {
    guard isTraining else { return .batch }
    if options.isSynchronized { return .synchronized }
    return options.ghostBatchSize.map { .ghost(samples: $0) } ?? .batch
  }

  override var branches: [Branch] { get throws { [.pooled(partition)] } }

  override var runningStatistics: RunningStatistics? {
    guard let runningMean, let runningVar else { return nil }
    return RunningStatistics(
      partition: partition, mean: runningMean, variance: runningVar, count: numBatchesTracked,
      momentum: options.momentum, unbiased: options.unbiasedRunningVariance)
  }

  override func renormalization() throws -> Renormalization? {
    guard isTraining, estimation == nil, let schedule = options.renormalization, let runningMean, let runningVar,
      let numBatchesTracked
    else { return nil }
    let bounds = schedule.bounds(step: Int(try numBatchesTracked.value.item()))
    return Renormalization(
      mean: try runningMean.value.array(), variance: try runningVar.value.array(), rMax: bounds.rMax,
      dMax: bounds.dMax)
  }

  /// PyTorch before 0.4.1 and published networks have none.
  override public var optionalKeys: Set<String> { ["num_batches_tracked"] }

  /// Normalizes sequences of different lengths: statistics over the valid positions only, which alone are normalized; the
  /// padding becomes 0, and no gradient passes through it.
  /// - Parameters:
  ///   - input: [N, C, spatial…].
  ///   - mask: [N, spatial…]; nonzero where a position is valid.
  /// - Throws: ``NormalizationError`` when the shapes do not fit or no position is valid.
  public func callAsFunction(_ input: Tensor, mask: Tensor) throws -> Tensor {
    try observed(input) {
      _ = try check(input)
      let shape = input.shape
      let expected = [shape[0]] + shape.dropFirst(2)
      guard shape.count > 2, mask.shape == expected else {
        throw NormalizationError(
          "a mask [N, spatial…] of \(expected) was expected for an input of \(shape), got \(mask.shape)")
      }
      guard options.ghostBatchSize == nil || !isTraining else {
        throw NormalizationError(
          "ghost batches cannot be combined with a mask: a sub-batch has no samples of its own then")
      }
      // [N, C, spatial…] → rows [N · positions, C]; the valid ones are a batch without space.
      let order = [0] + Array(2..<shape.count) + [1]
      let rows = try input.permuted(order).reshaped([-1, channels])
      let valid = try (mask .!= 0).reshaped([-1]).nonzeroIndices()
      guard valid.count > 0 else { throw NormalizationError("the mask leaves no position to normalize") }
      let normalized = try forward(rows.gatheredRows(valid), activation: .none)
      let back = try normalized.scatteredRows(valid, count: rows.shape[0])
      let inverse = [0, shape.count - 1] + Array(1..<shape.count - 1)
      return try back.reshaped(expected + [channels]).permuted(inverse).contiguous(input.denseFormat)
    }
  }
}

extension NormalizationKind {
  static let batch = NormalizationKind(
    name: "batch", title: "Batch normalization",
    summary: "Every channel over all samples and positions of the batch; running statistics in evaluation.",
    options: [
      .momentum,
      .init(form: "cumulative", help: "running statistics average all batches alike"),
      .epsilon,
      .init(form: "ghost=SAMPLES", help: "training statistics over sub-batches of so many samples"),
      .init(form: "synchronized", help: "training statistics over all workers"),
      .init(form: "renorm", help: "batch renormalization with the paper's schedule"),
      .init(form: "untracked", help: "the batch's own statistics in evaluation too"),
      .init(form: "keras", help: "epsilon 1e-3, momentum 0.01, biased running variance"),
    ],
    formula: "y = γ (x − μ_c) / √(σ²_c + ε) + β", statistics: [.init(.batch)], parameters: "2C",
    parameterCount: { 2 * $0 },
    useWhen:
      "batches have 16 or more samples, or speed in evaluation matters: there it folds into the convolution before it",
    weakness: "with few samples the batch's statistics are noisy, and evaluation uses others than training did",
    source: "Ioffe & Szegedy 2015"
  ) { words in
    var options: BatchNorm.Options = words.flag("keras") ? .keras : .pytorch
    let (cumulative, untracked) = (words.flag("cumulative"), words.flag("untracked"))
    let momentum = try words.momentum()
    if cumulative, momentum != nil {
      throw words.error("cumulative averages all batches alike, so momentum has no place")
    }
    if untracked, cumulative || momentum != nil {
      throw words.error(
        "untracked keeps no running statistics for \(cumulative ? "cumulative" : "momentum") to be about")
    }
    if cumulative { options.momentum = nil }
    if let momentum { options.momentum = momentum }
    if let epsilon = try words.epsilon() { options.epsilon = epsilon }
    options.ghostBatchSize = try words.value("ghost", "a whole number above 0") { $0 > 0 }
    options.isSynchronized = words.flag("synchronized")
    if words.flag("renorm") { options.renormalization = .init() }
    if untracked { options.tracksRunningStatistics = false }
    let chosen = options
    _ = try BatchNorm(channels: 1, chosen)
    return { try BatchNorm(channels: $0, chosen) }
  }
}
