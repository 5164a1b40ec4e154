/// Mean and standard deviation of some numbers.
public struct Sample: Sendable, Equatable {
  /// How many numbers there are; at least one.
  public let count: Int
  /// The arithmetic mean.
  public let mean: Double
  /// With n − 1; nil for fewer than two numbers.
  public let deviation: Double?

  /// - Precondition: at least one number.
  public init(_ values: [Double]) {
    precondition(!values.isEmpty, "a sample needs at least one number")
    count = values.count
    let mean = values.reduce(0, +) / Double(values.count)
    self.mean = mean
    deviation =
      values.count > 1
      ? (values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(values.count - 1)).squareRoot() : nil
  }

  /// Half the width of the mean's t interval; nil for fewer than two numbers.
  public func halfWidth(confidence: Double = 0.95) -> Double? {
    deviation.map {
      StudentT(freedom: Double(count - 1)).quantile(0.5 + confidence / 2) * $0 / Double(count).squareRoot()
    }
  }
}

/// Two methods measured under the same seeds: what they differ by, pair by pair.
///
/// Pairing takes out what a seed does to both, its split, order and augmentation. Student 1908.
public struct PairedComparison: Sendable, Equatable {
  /// The name of the method that is subtracted from.
  public let first: String
  /// The name of the method that is subtracted.
  public let second: String
  /// Of first − second.
  public let difference: Sample
  /// Half the width of the difference's t interval; nil for fewer than two pairs.
  public let halfWidth: Double?
  /// Two-sided, of the hypothesis that the difference is zero on average; nil for fewer than two pairs.
  public let pValue: Double?

  /// - Precondition: as many numbers of both, at least one; the same index is the same seed.
  public init(_ first: String, _ a: [Double], _ second: String, _ b: [Double], confidence: Double = 0.95) {
    precondition(a.count == b.count && !a.isEmpty, "a paired comparison needs as many numbers of both")
    self.first = first
    self.second = second
    difference = Sample(zip(a, b).map { $0 - $1 })
    halfWidth = difference.halfWidth(confidence: confidence)
    let mean = difference.mean
    pValue = difference.deviation.map { [count = difference.count] deviation in
      // Differences that are all the same number: certain, unless that number is 0.
      if deviation == 0 { return mean == 0 ? 1 : 0 }
      return StudentT(freedom: Double(count - 1)).twoSided(mean / deviation * Double(count).squareRoot())
    }
  }
}

/// p values of several tests made fit for being looked at together: the chance of even one false finding stays that of a
/// single test. Holm 1979.
/// - Returns: adjusted p values, in the order given.
public func holmAdjusted(_ pValues: [Double]) -> [Double] {
  var adjusted = pValues
  var greatest = 0.0
  for (rank, index) in pValues.indices.sorted(by: { pValues[$0] < pValues[$1] }).enumerated() {
    greatest = max(greatest, min(1, pValues[index] * Double(pValues.count - rank)))
    adjusted[index] = greatest
  }
  return adjusted
}
