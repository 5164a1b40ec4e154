#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Student's t distribution.
public struct StudentT: Sendable {
  /// Degrees of freedom, above 0.
  public let freedom: Double

  /// - Precondition: `freedom` above 0.
  public init(freedom: Double) {
    precondition(freedom > 0, "a t distribution needs degrees of freedom above 0")
    self.freedom = freedom
  }

  /// P(T ≤ t).
  public func cumulative(_ t: Double) -> Double {
    if t.isNaN { return .nan }
    if t.isInfinite { return t > 0 ? 1 : 0 }
    let tail = 0.5 * regularizedIncompleteBeta(freedom / (freedom + t * t), freedom / 2, 0.5)
    return t > 0 ? 1 - tail : tail
  }

  /// P(|T| ≥ |t|): the p value of a two-sided test.
  public func twoSided(_ t: Double) -> Double {
    if t.isNaN { return .nan }
    return t.isInfinite ? 0 : regularizedIncompleteBeta(freedom / (freedom + t * t), freedom / 2, 0.5)
  }

  /// The t with P(T ≤ t) = `probability`, which lies between 0 and 1.
  public func quantile(_ probability: Double) -> Double {
    precondition(probability > 0 && probability < 1, "a quantile's probability lies between 0 and 1")
    if probability == 0.5 { return 0 }
    // Bisection on the upper half: the distribution is symmetric, and its tail may be long.
    let upper = max(probability, 1 - probability)
    var (low, high) = (0.0, 1.0)
    while cumulative(high) < upper { (low, high) = (high, high * 2) }
    for _ in 0..<200 where high - low > 1e-15 * high {
      let middle = (low + high) / 2
      if cumulative(middle) < upper { low = middle } else { high = middle }
    }
    return probability > 0.5 ? high : -high
  }
}

/// I_x(a, b), by the continued fraction of DLMF 8.17.22 in Lentz's form.
func regularizedIncompleteBeta(_ x: Double, _ a: Double, _ b: Double) -> Double {
  if x <= 0 { return 0 }
  if x >= 1 { return 1 }
  // The fraction converges fast below the mean; beyond it the other tail is taken.
  if x > (a + 1) / (a + b + 2) { return 1 - regularizedIncompleteBeta(1 - x, b, a) }
  let logFront = a * log(x) + b * log1p(-x) - logGamma(a) - logGamma(b) + logGamma(a + b)
  let tiny = 1e-300
  func atLeastTiny(_ value: Double) -> Double { abs(value) < tiny ? tiny : value }
  var (c, d) = (1.0, 1 / atLeastTiny(1 - (a + b) * x / (a + 1)))
  var fraction = d
  for m in 1...500 {
    let m = Double(m)
    let even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
    d = 1 / atLeastTiny(1 + even * d)
    c = atLeastTiny(1 + even / c)
    fraction *= d * c
    let odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
    d = 1 / atLeastTiny(1 + odd * d)
    c = atLeastTiny(1 + odd / c)
    fraction *= d * c
    if abs(d * c - 1) < 1e-16 { break }
  }
  return exp(logFront) * fraction / a
}

private func logGamma(_ x: Double) -> Double {
  #if canImport(Darwin)
    return lgamma(x)
  #else
    var sign: Int32 = 0
    return lgamma_r(x, &sign)
  #endif
}
