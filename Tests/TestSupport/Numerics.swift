/// Central differences of a function at a point.
public func numericalGradient(at point: [Double], step: Double = 1e-5, _ function: ([Double]) throws -> Double)
  rethrows -> [Double]
{
  var point = point
  return try point.indices.map { index in
    let value = point[index]
    point[index] = value + step
    let above = try function(point)
    point[index] = value - step
    let below = try function(point)
    point[index] = value
    return (above - below) / (2 * step)
  }
}

/// Largest difference between two vectors, relative to the largest magnitude in the second.
public func relativeError(_ a: [Double], _ b: [Double]) -> Double {
  guard a.count == b.count else { return .infinity }
  let scale = b.map(abs).max() ?? 0
  let difference = zip(a, b).map { abs($0 - $1) }.max() ?? 0
  guard !difference.isNaN, !scale.isNaN else { return .infinity }
  return difference / max(scale, 1e-12)
}

public func dot(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }

/// Seeded normal-like random numbers (sum of uniforms), independent of the library's generators.
public struct TestRandom {
  private var state: UInt64
  public init(_ seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 | 1 }

  public mutating func next() -> Double {
    var sum = 0.0
    for _ in 0..<6 {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      sum += Double(state >> 11) / 9_007_199_254_740_992
    }
    return (sum - 3) * 1.414
  }

  public mutating func numbers(_ count: Int) -> [Double] { (0..<count).map { _ in next() } }
}
