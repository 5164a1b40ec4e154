#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// The values along an axis, from the first tick to the last. Ticks are 1, 2 or 5 times a power of ten.
struct Scale: Equatable {
  let ticks: [Double]
  let labels: [String]
  let isLogarithmic: Bool

  private init(ticks: [Double], labels: [String], isLogarithmic: Bool) {
    (self.ticks, self.labels, self.isLogarithmic) = (ticks, labels, isLogarithmic)
  }

  /// Equal steps around all values that are finite; 0…1 without any.
  /// - Parameters:
  ///   - count: the most steps, about.
  ///   - isWhole: whether only whole numbers have a meaning.
  static func linear(_ values: [Double], count: Int = 5, includesZero: Bool = false, isWhole: Bool = false) -> Scale {
    let finite = values.filter(\.isFinite) + (includesZero ? [0] : [])
    var low = finite.min() ?? 0
    var high = finite.max() ?? 1
    if low == high {
      // A range around the only value.
      let room = isWhole ? 1 : (low == 0 ? 1 : abs(low) * 0.1)
      (low, high) = (includesZero && low >= 0 ? low : low - room, high + room)
    }
    var exponent = Int(floor(log10((high - low) / Double(count))))
    if isWhole { exponent = max(exponent, 0) }
    func value(_ multiple: Double, _ factor: Double) -> Double {
      // Division by a power of ten gives the double nearest to the decimal number, multiplication by its inverse does not.
      exponent < 0 ? multiple * factor / pow(10, Double(-exponent)) : multiple * factor * pow(10, Double(exponent))
    }
    let fitting = [1.0, 2, 5, 10].first { (high - low) / value(1, $0) <= Double(count) * (1 + 1e-9) } ?? 10
    let step = value(1, fitting)
    // A value on a tick may lie beside it by a rounding.
    let first = floor(low / step + 1e-9)
    let last = max(ceil(high / step - 1e-9), first + 1)
    let ticks = stride(from: first, through: last, by: 1).map { value($0, fitting) }
    let digits = max(0, -exponent - (fitting == 10 ? 1 : 0))
    let largest = max(abs(ticks[0]), abs(ticks[ticks.count - 1]))
    let isPlain = largest < 1e6 && digits <= 5
    return Scale(ticks: ticks, labels: ticks.map { isPlain ? fixed($0, digits) : short($0) }, isLogarithmic: false)
  }

  /// Equal factors around all values that are finite and above 0.
  static func logarithmic(_ values: [Double]) -> Scale {
    let positive = values.filter { $0.isFinite && $0 > 0 }
    guard let low = positive.min(), let high = positive.max() else { return linear(values) }
    let exponents = Int(floor(log10(low)))...Int(ceil(log10(high)))
    let all = exponents.flatMap { exponent in
      [1.0, 2, 5].map { exponent < 0 ? $0 / pow(10, Double(-exponent)) : $0 * pow(10, Double(exponent)) }
    }
    let first = all.lastIndex { $0 <= low * (1 + 1e-9) } ?? 0
    let last = max(all.firstIndex { $0 >= high * (1 - 1e-9) } ?? all.count - 1, first + 1)
    var ticks = Array(all[first...last])
    if ticks.count > 8 {
      let every = (exponents.count + 6) / 7
      ticks = Swift.stride(from: exponents.lowerBound, to: exponents.upperBound + every, by: every).map {
        pow(10, Double($0))
      }
    }
    return Scale(ticks: ticks, labels: ticks.map(short), isLogarithmic: true)
  }

  /// By factors where values are too far apart for steps.
  static func suited(to values: [Double]) -> Scale {
    let finite = values.filter(\.isFinite)
    guard let low = finite.min(), let high = finite.max(), low > 0, high / low > 30 else { return linear(values) }
    return logarithmic(values)
  }

  /// 0 for the first tick, 1 for the last; values beyond are put there.
  func place(_ value: Double) -> Double {
    let (low, high) = (ticks[0], ticks[ticks.count - 1])
    let share =
      isLogarithmic
      ? log(max(value, .leastNormalMagnitude) / low) / log(high / low) : (value - low) / (high - low)
    return min(max(share, 0), 1)
  }

  /// 0.002, 20, 2e7.
  private static func short(_ value: Double) -> String {
    if value == 0 { return "0" }
    let exponent = Int(floor(log10(abs(value)) + 1e-9))
    guard (-4..<6).contains(exponent) else {
      let mantissa = value / pow(10, Double(exponent))
      let text = fixed(mantissa, 1)
      return (text.hasSuffix(".0") ? String(text.dropLast(2)) : text) + "e\(exponent)"
    }
    return fixed(value, max(0, -exponent))
  }
}
