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

  /// Writes mean and variance of every channel over all processes into all its cells.
  /// - Parameter isCentred: otherwise the means are 0 and the variances mean squares.
  /// - Returns: the number of values that they are taken over.
  func pool(
    _ mean: UnsafePointer<Double>, _ variance: UnsafePointer<Double>, into means: UnsafeMutablePointer<Double>,
    _ variances: UnsafeMutablePointer<Double>, _ shape: MomentShape, isCentred: Bool
  ) throws -> Double {
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
    for cell in 0..<shape.cells {
      let c = cell % channels
      let difference = isCentred ? sums[c] / values : 0
      means[cell] = difference + (near?[c] ?? 0)
      variances[cell] = max(0, sums[channels + c] / values - difference * difference)
    }
    return values
  }

  /// The transpose: takes the gradients of pooled means and variances to those of the planes', in one sum together.
  /// - Parameter values: as ``pool(_:_:into:_:_:isCentred:)`` found them.
  func pullBack(
    _ mean: UnsafePointer<Double>, _ variance: UnsafePointer<Double>, into means: UnsafeMutablePointer<Double>,
    _ variances: UnsafeMutablePointer<Double>, _ shape: MomentShape, values: Double
  ) throws {
    let channels = shape.channels
    var sums = [Double](repeating: 0, count: 2 * channels)
    if counts {
      for cell in 0..<shape.cells {
        sums[cell % channels] += mean[cell]
        sums[channels + cell % channels] += variance[cell]
      }
    }
    sums = try group.sum(sums, on: .statistics)
    let share = counts ? Double(shape.positions) / values : 0
    for cell in 0..<shape.cells {
      means[cell] = sums[cell % channels] * share
      variances[cell] = sums[channels + cell % channels] * share
    }
  }
}
