import NormaNN
import NormaTensor

/// Mean and biased variance of every plane of one sample, [C] each, over a number of positions.
package struct PlaneMoments: Sendable, Equatable {
  package let mean: [Double]
  package let variance: [Double]
  package let positions: Int
}

/// The moments of a whole image's planes where they enter its normalizations, for forward passes over parts of the image.
///
/// Calls of normalizations that take statistics of the image are told apart by their order in a pass, so every pass has to make the
/// same calls. Of the first calls the moments are fixed; a pass measures those of the next ones, or takes no notice of them.
package final class ImageMoments: @unchecked Sendable {
  @TaskLocal static var current: ImageMoments?

  /// A part of the input of a network, and the input's extents.
  package struct Region {
    package let rows: Range<Int>
    package let columns: Range<Int>
    package let height: Int
    package let width: Int

    package init(rows: Range<Int>, columns: Range<Int>, height: Int, width: Int) {
      (self.rows, self.columns, self.height, self.width) = (rows, columns, height, width)
    }
  }

  private var fixed: [PlaneMoments] = []
  private var estimates: [StatisticsEstimate] = []
  /// The calls of the pass so far.
  private var calls = 0
  private var region: Region?
  private var onlyNext = false

  package init() {}

  /// How many calls have fixed moments.
  package var count: Int { fixed.count }

  /// Runs a pass in which calls with fixed moments use them, and all others their input's own.
  package func apply<Result>(_ body: () throws -> Result) rethrows -> Result {
    calls = 0
    return try Self.$current.withValue(self, operation: body)
  }

  /// Runs a pass that also takes in the moments of calls without fixed ones, over a region of one sample.
  /// - Parameter onlyNext: whether the pass ends with the first of these calls.
  /// - Returns: whether there was such a call.
  @discardableResult
  package func measure(_ region: Region, onlyNext: Bool = false, _ body: () throws -> Void) throws -> Bool {
    (self.region, self.onlyNext) = (region, onlyNext)
    defer { self.region = nil }
    do { try apply(body) } catch is MeasurementDone {}
    return calls > fixed.count
  }

  /// Fixes what the passes measured: the regions' positions taken together, by the law of total variance.
  package func fixMeasured() {
    fixed += estimates.map {
      let found = $0.statistics
      return PlaneMoments(mean: found.mean, variance: found.variance, positions: $0.count)
    }
    estimates = []
  }

  private struct MeasurementDone: Error {}

  /// The fixed moments for the call that takes statistics of x; nil for x's own.
  func moments(entering x: Tensor) throws -> PlaneMoments? {
    calls += 1
    if calls <= fixed.count {
      let moments = fixed[calls - 1]
      guard x.shape[0] == 1, x.shape[1] == moments.mean.count else {
        throw NormalizationError(
          "moments of one image of \(moments.mean.count) channels are fixed here, got \(x.shape); passes must make the "
            + "same calls in the same order")
      }
      return moments
    }
    guard let region else { return nil }
    let index = calls - 1 - fixed.count
    if index == estimates.count { estimates.append(StatisticsEstimate()) }
    let found = try x.part(region).planeMoments()
    estimates[index].add((found.mean, found.variance), 1, count: found.positions)
    if onlyNext { throw MeasurementDone() }
    return nil
  }
}

extension Tensor {
  /// What of [1, C, H, W] belongs to a region of the network's input.
  fileprivate func part(_ region: ImageMoments.Region) throws -> Tensor {
    let shape = shape
    func scaled(_ range: Range<Int>, _ extent: Int, of whole: Int) -> Range<Int>? {
      let (lower, upper) = (range.lowerBound * extent, range.upperBound * extent)
      return lower % whole == 0 && upper % whole == 0 && lower < upper ? lower / whole..<upper / whole : nil
    }
    guard shape.count == 4, shape[0] == 1, let rows = scaled(region.rows, shape[2], of: region.height),
      let columns = scaled(region.columns, shape[3], of: region.width)
    else {
      throw NormalizationError(
        "moments of a part of an image need one sample whose extents divide the input's \(region.height) × \(region.width), "
          + "got \(shape)")
    }
    return try sliced(rows, dimension: 2).sliced(columns, dimension: 3).contiguous(denseFormat)
  }

  /// Of one sample.
  fileprivate func planeMoments() throws -> PlaneMoments {
    let shape = MomentShape(self)
    let mix = MomentMix(
      shape: shape, MixRecipe(branches: [.pooled(.instance)], epsilon: 1, roundsToFloat: dtype != .float64))
    try MomentNormalization.kernels(for: self).moments(of: self, into: mix)
    return PlaneMoments(
      mean: Array(UnsafeBufferPointer(start: mix.mean, count: shape.cells)),
      variance: Array(UnsafeBufferPointer(start: mix.variance, count: shape.cells)), positions: shape.positions)
  }
}

extension MomentMix {
  /// Moments that were taken elsewhere in the place of the first pass; the shape is of one sample.
  func take(_ moments: PlaneMoments) {
    for c in 0..<shape.channels {
      mean[c] = moments.mean[c]
      variance[c] = moments.variance[c]
    }
    solve(shape.whole)
  }
}

extension MomentShape {
  init(_ moments: PlaneMoments) {
    self.init(samples: 1, channels: moments.mean.count, positions: moments.positions)
  }
}

extension Module {
  /// How many normalizations below take statistics of the image itself in the present mode, and not running ones.
  package final var imageStatisticsCount: Int {
    get throws {
      try namedModules().count { try ($0.module as? any StatisticsKeeping)?.takesImageStatistics == true }
    }
  }
}
