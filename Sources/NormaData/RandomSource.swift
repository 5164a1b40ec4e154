/// A seeded generator whose streams can be derived by number.
///
/// xoshiro256** (Blackman and Vigna, "Scrambled linear pseudorandom number generators", ACM TOMS 47,
/// 2021), seeded by SplitMix64 (Steele, Lea and Flood, OOPSLA 2014). Its numbers use additions,
/// multiplications, divisions and square roots only, so a seed gives the same numbers on every machine.
public struct RandomSource: RandomNumberGenerator, Sendable {
  private let key: UInt64
  private var state: (UInt64, UInt64, UInt64, UInt64)

  /// Starts the stream of `seed`.
  public init(seed: UInt64) {
    var mixer = SplitMix64(state: seed)
    self.init(key: seed, state: (mixer.next(), mixer.next(), mixer.next(), mixer.next()))
  }

  init(key: UInt64, state: (UInt64, UInt64, UInt64, UInt64)) {
    self.key = key
    self.state = state
  }

  /// A source for the stream with these numbers.
  ///
  /// It depends on this source's seed and on `stream` only, never on how many numbers were drawn: sample k
  /// of epoch e is the same whichever thread draws it and when.
  public func derive(stream: UInt64...) -> RandomSource {
    var key = key
    for number in stream {
      var outer = SplitMix64(state: number)
      var inner = SplitMix64(state: key ^ outer.next())
      key = inner.next()
    }
    return RandomSource(seed: key)
  }

  /// The next 64 random bits.
  @inline(__always)
  public mutating func next() -> UInt64 {
    let product = state.1 &* 5
    let result = (product << 7 | product >> 57) &* 9
    let shifted = state.1 << 17
    state.2 ^= state.0
    state.3 ^= state.1
    state.1 ^= state.2
    state.0 ^= state.3
    state.2 ^= shifted
    state.3 = state.3 << 45 | state.3 >> 19
    return result
  }

  /// A number drawn uniformly from 0 ≤ u < 1.
  @inline(__always)
  public mutating func uniform() -> Double {
    Double(next() >> 11) * 0x1p-53
  }

  /// A number drawn uniformly from `range`.
  public mutating func uniform(in range: ClosedRange<Double>) -> Double {
    range.lowerBound + (range.upperBound - range.lowerBound) * uniform()
  }

  /// A number drawn uniformly from `range`.
  public mutating func uniform(in range: ClosedRange<Float>) -> Float {
    range.lowerBound + (range.upperBound - range.lowerBound) * Float(next() >> 40) * 0x1p-24
  }

  /// A whole number drawn uniformly from 0 ..< `bound`; `bound` must be positive.
  ///
  /// Rejects the numbers that would favour small results (Lemire, ACM TOMACS 29, 2019).
  public mutating func integer(below bound: Int) -> Int {
    precondition(bound > 0, "integer(below:) needs a positive bound, received \(bound)")
    let bound = UInt64(bound)
    let threshold = (0 &- bound) % bound
    while true {
      let (high, low) = bound.multipliedFullWidth(by: next())
      if low >= threshold { return Int(high) }
    }
  }

  /// A number from the normal distribution with mean 0 and standard deviation 1 (Marsaglia's polar method).
  public mutating func normal() -> Double {
    while true {
      let u = 2 * uniform() - 1
      let v = 2 * uniform() - 1
      let square = u * u + v * v
      if square > 0 && square < 1 {
        return u * (-2 * naturalLogarithm(square) / square).squareRoot()
      }
    }
  }

  /// The numbers 0 ..< `count` in random order (Fisher and Yates).
  ///
  /// Written here because the standard library does not promise the same order in its next version.
  public mutating func permutation(count: Int) -> [Int] {
    var order = Array(0..<count)
    var last = count - 1
    while last > 0 {
      order.swapAt(last, integer(below: last + 1))
      last -= 1
    }
    return order
  }

  /// Random orders of 0 ..< `count`, one after the other and cut at `length`, so that how often each occurs differs by one at
  /// most.
  mutating func permutations(of count: Int, length: Int) -> [Int] {
    var orders: [Int] = []
    while orders.count < length { orders += permutation(count: count) }
    return Array(orders.prefix(length))
  }
}

/// The generator that spreads a seed over a larger state.
struct SplitMix64 {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }
}

/// ln(x) of a positive, normal number, by the series of 2·artanh((m − 1) / (m + 1)).
///
/// The C library's logarithm may differ in the last bit from machine to machine; this one does not.
func naturalLogarithm(_ x: Double) -> Double {
  var exponent = Double(x.exponent)
  var significand = x.significand
  if significand > 1.414_213_562_373_095_1 {
    significand /= 2
    exponent += 1
  }
  let s = (significand - 1) / (significand + 1)
  let square = s * s
  var sum = 0.0
  var divisor = 23.0
  while divisor >= 1 {
    sum = sum * square + 1 / divisor
    divisor -= 2
  }
  return exponent * 0.693_147_180_559_945_3 + 2 * s * sum
}
