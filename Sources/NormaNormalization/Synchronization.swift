import NormaDistributed

/// How the parts of ``Partition/synchronized`` reach over the processes of a group: one sum of O(C) numbers over them forward, one
/// backward.
struct Synchronization {
  private let group: ProcessGroup
  /// Whether this process's samples count. One that has none left takes part with others'.
  private let counts: Bool
  /// [C]: numbers near the means that all processes have in common, so that sums of squares lose no digits; nil for zeros.
  private let origin: [Double]?

  /// nil without a partition that reaches over processes, or without any.
  init?(_ branches: [Branch], origin: @autoclosure () throws -> [Double]?) rethrows {
    guard let group = ProcessGroup.current, group.size > 1,
      branches.contains(where: { $0.partition == .synchronized })
    else { return nil }
    (self.group, counts, self.origin) = (group, ProcessGroup.counts, try origin())
  }

  /// Mean and variance per channel over all processes, with the number of values that they are taken over.
  /// - Parameter isCentred: otherwise the means are 0 and the variances mean squares.
  func moments(
    _ mean: UnsafePointer<Double>, _ variance: UnsafePointer<Double>, _ shape: MomentShape, isCentred: Bool
  ) throws -> (means: [Double], variances: [Double], values: Double) {
    let channels = shape.channels
    let near = isCentred ? origin : nil
    var sums = [Double](repeating: 0, count: 2 * channels + 1)
    if counts {
      let positions = Double(shape.positions)
      for n in 0..<shape.samples {
        for c in 0..<channels {
          let difference = mean[n * channels + c] - (near?[c] ?? 0)
          sums[c] += positions * difference
          sums[channels + c] += positions * (variance[n * channels + c] + difference * difference)
        }
      }
      sums[2 * channels] = positions * Double(shape.samples)
    }
    sums = try group.sum(sums, on: .statistics)
    let values = sums[2 * channels]
    guard values > 1 else {
      throw NormalizationError(
        "synchronized statistics would be taken over one value in all \(group.size) processes together; use more samples per batch"
      )
    }
    let means = (0..<channels).map { isCentred ? sums[$0] / values : 0 }
    return (
      means.enumerated().map { $1 + (near?[$0] ?? 0) },
      (0..<channels).map { max(0, sums[channels + $0] / values - means[$0] * means[$0]) }, values
    )
  }

  /// The transpose: what the gradients of the pooled numbers are for one plane's, per channel.
  /// - Parameters:
  ///   - gradients: tables [N, C], which take one sum together.
  ///   - values: as ``moments(_:_:_:isCentred:)`` found them.
  func pulledBack(_ gradients: [UnsafePointer<Double>], _ shape: MomentShape, values: Double) throws -> [[Double]] {
    let channels = shape.channels
    var sums = [Double](repeating: 0, count: gradients.count * channels)
    if counts {
      for (index, gradient) in gradients.enumerated() {
        for n in 0..<shape.samples {
          for c in 0..<channels { sums[index * channels + c] += gradient[n * channels + c] }
        }
      }
    }
    sums = try group.sum(sums, on: .statistics)
    let share = counts ? Double(shape.positions) / values : 0
    return gradients.indices.map { index in (0..<channels).map { sums[index * channels + $0] * share } }
  }
}
