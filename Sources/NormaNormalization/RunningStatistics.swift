import NormaNN
import NormaTensor

/// Averages of the batches' statistics, for evaluation.
struct RunningStatistics {
  /// The partition whose statistics are averaged; over all samples, where it has several parts per channel.
  var partition = Partition.batch
  /// [C]; no mean where the layer uses none.
  let mean: Buffer?
  let variance: Buffer
  /// int64 scalar: training batches seen; only an average of all needs it.
  var count: Buffer?
  /// The share of the new batch in every update (PyTorch's convention; 0.1 keeps 0.9); nil for the average of all
  /// batches.
  let momentum: Double?
  /// Whether the variance's update is multiplied by n / (n − 1).
  let unbiased: Bool

  /// The averages as a branch; numbers, since a later training step changes the buffers in place.
  var branch: Branch {
    get throws {
      let variances: [Double] = try variance.value.array()
      return .fixed(mean: try mean?.value.array() ?? variances.map { _ in 0 }, variance: variances)
    }
  }

  func correction(valuesPerChannel count: Int) -> Double {
    unbiased && count > 1 ? Double(count) / Double(count - 1) : 1
  }

  func update(_ batch: (mean: [Double], variance: [Double]), valuesPerChannel values: Int) throws {
    try withoutGradients { try count?.value.add(scalar: 1) }
    let share = try momentum ?? 1 / (count.map { try $0.value.item() } ?? 1)
    let correction = correction(valuesPerChannel: values)
    try mean?.value.average(with: batch.mean, share: share)
    try variance.value.average(with: batch.variance.map { $0 * correction }, share: share)
  }
}

extension Tensor {
  /// self ← self + share (values − self).
  fileprivate func average(with values: [Double], share: Double) throws {
    let values = try Tensor(values).to(dtype: dtype).to(device: device)
    try withoutGradients { try lerp(to: values, share: share) }
  }
}

/// Statistics of several batches taken as one population, in which a batch weighs by its values: mean of the means, and mean of the variances
/// plus variance of the means.
final class StatisticsEstimate {
  private(set) var batches = 0
  private var values = 0.0
  /// Values per channel that the statistics were taken over.
  var count: Int { Int(values) }
  private var mean: [Double] = []
  private var meanSquares: [Double] = []
  private var variance: [Double] = []

  /// - Parameter count: values per channel that the statistics were taken over.
  func add(_ found: (mean: [Double], variance: [Double]), _ correction: Double, count: Int) {
    if batches == 0 {
      mean = found.mean.map { _ in 0 }
      (meanSquares, variance) = (mean, mean)
    }
    batches += 1
    values += Double(count)
    let share = Double(count) / values
    for c in mean.indices {
      let difference = found.mean[c] - mean[c]
      mean[c] += difference * share
      meanSquares[c] += Double(count) * difference * (found.mean[c] - mean[c])
      variance[c] += (found.variance[c] * correction - variance[c]) * share
    }
  }

  /// - Precondition: at least one batch.
  var statistics: (mean: [Double], variance: [Double]) {
    (mean, zip(variance, meanSquares).map { $0 + $1 / values })
  }

  /// - Precondition: at least one batch.
  func write(to running: RunningStatistics) throws {
    let found = statistics
    try running.mean?.value.average(with: found.mean, share: 1)
    try running.variance.value.average(with: found.variance, share: 1)
    try running.count?.value.fill(Double(batches))
  }
}

/// A layer that may have running statistics.
protocol StatisticsKeeping: Module {
  var runningStatistics: RunningStatistics? { get }
  /// What a conversion takes over: those, or fixed ones.
  var keptStatistics: RunningStatistics? { get }
  /// Whether the present mode takes statistics of the input, and not running ones alone.
  var takesImageStatistics: Bool { get throws }
  /// Collects what training batches would add to the running statistics, while there is one.
  var estimation: StatisticsEstimate? { get set }
}

extension StatisticsKeeping {
  /// Takes in a training batch's statistics.
  func track(_ found: (mean: [Double], variance: [Double]), _ running: RunningStatistics, valuesPerChannel count: Int)
    throws
  {
    if let estimation {
      estimation.add(found, running.correction(valuesPerChannel: count), count: count)
    } else {
      try running.update(found, valuesPerChannel: count)
    }
  }
}

extension Module {
  /// Replaces the running statistics of all normalizations below by those of the given batches under the present
  /// parameters, taken as one population ("precise" statistics; the batch average of switchable normalization).
  ///
  /// The normalizations see the batches in training mode, everything else in evaluation mode; afterwards all modes
  /// are what they were. Without gradients. Momentum plays no part.
  ///
  /// Wu & Johnson 2021, "Rethinking 'Batch' in BatchNorm", section 3; Luo et al. 2019, section 3.2, for SN.
  /// - Parameters:
  ///   - batches: what to run; for sound statistics more than a hundred batches.
  ///   - forward: one pass of the network over a batch.
  /// - Returns: how many batches were used; 0 for a network without running statistics, which is not run.
  /// - Throws: what `forward` throws; then the statistics are as before.
  @discardableResult
  public final func reestimateStatistics<Batches: Sequence>(
    over batches: Batches, forward: (Batches.Element) throws -> Void
  ) throws -> Int {
    try estimating { layers in
      guard !layers.isEmpty else { return 0 }
      var count = 0
      try withoutGradients {
        for batch in batches {
          try forward(batch)
          count += 1
        }
      }
      for layer in layers {
        guard let estimation = layer.estimation, let running = layer.runningStatistics else { continue }
        if estimation.batches > 0 { try estimation.write(to: running) }
      }
      return count
    }
  }

  /// Runs the body with the normalizations that have running statistics in training mode, where they leave these alone and
  /// collect estimates instead, and everything else in evaluation mode. Afterwards all modes are what they were.
  private func estimating<Result>(_ body: ([any StatisticsKeeping]) throws -> Result) rethrows -> Result {
    let modules = namedModules().map(\.module)
    let modes = modules.map(\.isTraining)
    let layers = modules.compactMap { $0 as? any StatisticsKeeping }.filter { $0.runningStatistics != nil }
    defer {
      for layer in layers { layer.estimation = nil }
      for (module, mode) in zip(modules, modes) { module.setTraining(mode) }
    }
    for module in modules { module.setTraining(false) }
    for layer in layers {
      layer.setTraining(true)
      layer.estimation = StatisticsEstimate()
    }
    return try body(layers)
  }

  /// Runs the body so that its passes are as in training, but change no running statistics and draw no dropout: the
  /// normalizations that have running statistics use the batch's, everything else is in evaluation mode. Batch
  /// renormalization is left out.
  /// - Returns: what the body returns, and what the layers measured that a pass went through.
  package final func leavingStatistics<Result>(
    _ body: () throws -> Result
  ) throws -> (result: Result, measured: [MeasuredStatistics]) {
    try estimating { layers in
      let result = try body()
      return (
        result,
        try layers.compactMap { layer in
          guard let estimation = layer.estimation, estimation.batches > 0, let running = layer.runningStatistics else {
            return nil
          }
          let found = estimation.statistics
          return MeasuredStatistics(
            layer: layer, mean: found.mean, variance: found.variance, runningMean: try running.mean?.value.array(),
            runningVariance: try running.variance.value.array())
        }
      )
    }
  }
}

extension Module {
  /// Running statistics of norms that take each process's samples by themselves, so that those of several processes differ.
  package final var localStatistics: [Tensor] {
    namedModules().flatMap { _, module -> [Tensor] in
      guard let running = (module as? any StatisticsKeeping)?.runningStatistics, running.partition != .synchronized
      else {
        return []
      }
      return [running.mean?.value, running.variance.value].compactMap { $0 }
    }
  }
}

/// A batch's statistics as the running ones [C] would take them in, and these.
package struct MeasuredStatistics {
  package let layer: Module
  package let mean: [Double]
  package let variance: [Double]
  /// nil for a layer that uses variances only.
  package let runningMean: [Double]?
  package let runningVariance: [Double]
}

extension Layer {
  /// ``Module/reestimateStatistics(over:forward:)`` for a network of one input.
  @discardableResult
  public func reestimateStatistics(over inputs: some Sequence<Tensor>) throws -> Int {
    try reestimateStatistics(over: inputs) { _ = try self($0) }
  }
}
