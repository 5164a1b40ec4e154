import Testing

@testable import NormaData

@Suite struct RandomSourceTests {
  /// The first outputs published with the reference implementations.
  @Test func matchesReferenceImplementations() {
    var mixer = SplitMix64(state: 1_234_567)
    #expect(
      (0..<3).map { _ in mixer.next() } == [
        6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423,
      ])
    var source = RandomSource(key: 0, state: (1, 2, 3, 4))
    #expect((0..<4).map { _ in source.next() } == [11520, 0, 1_509_978_240, 1_215_971_899_390_074_240])
  }

  @Test func derivedStreamsDependOnNumbersAndNotOnPosition() {
    let fresh = RandomSource(seed: 5)
    var used = fresh
    for _ in 0..<10 { _ = used.next() }
    func first(_ source: RandomSource) -> UInt64 {
      var source = source
      return source.next()
    }
    #expect(first(fresh.derive(stream: 1, 2)) == first(used.derive(stream: 1, 2)))
    let firsts = [
      first(fresh), first(fresh.derive(stream: 0)), first(fresh.derive(stream: 1)),
      first(fresh.derive(stream: 1, 2)), first(fresh.derive(stream: 2, 1)),
      first(RandomSource(seed: 6).derive(stream: 1, 2)),
    ]
    #expect(Set(firsts).count == firsts.count)
  }

  @Test func uniformNumbersFillTheirRange() {
    var source = RandomSource(seed: 1)
    let numbers = (0..<2000).map { _ in source.uniform(in: Float(-3)...5) }
    #expect(numbers.allSatisfy { $0 >= -3 && $0 <= 5 })
    #expect(numbers.min()! < -2.9 && numbers.max()! > 4.9)
    #expect(abs(numbers.reduce(0, +) / 2000 - 1) < 0.2)
    let wide = (0..<2000).map { _ in source.uniform(in: -3.0...5.0) }
    #expect(wide.allSatisfy { $0 >= -3 && $0 <= 5 } && wide.max()! > 4.9)
  }

  @Test func integersAreEvenlyDistributed() {
    var source = RandomSource(seed: 2)
    var counts = [0, 0, 0, 0, 0]
    for _ in 0..<5000 { counts[source.integer(below: 5)] += 1 }
    #expect(counts.allSatisfy { abs($0 - 1000) < 150 })
  }

  @Test func normalNumbersHaveTheirMoments() {
    var source = RandomSource(seed: 3)
    let exact = (0..<4000).map { _ in source.normal() }
    let rough = (0..<4000).map { _ in Double(source.roughNormal()) }
    for numbers in [exact, rough] {
      let mean = numbers.reduce(0, +) / 4000
      let variance = numbers.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 4000
      #expect(abs(mean) < 0.06)
      #expect(abs(variance - 1) < 0.08)
      // 68 % lie within one deviation: a uniform distribution would have 58 %.
      let near = numbers.count { abs($0) < 1 }
      #expect(abs(Double(near) / 4000 - 0.6827) < 0.03)
    }
  }

  @Test func logarithmIsTheNaturalOne() {
    let cases: [(x: Double, logarithm: Double)] = [
      (1, 0), (2, 0.693147180559945309), (10, 2.302585092994045684), (0.5, -0.693147180559945309),
      (1e-9, -20.72326583694641116), (0.999, -0.001000500333583533501),
    ]
    for (x, logarithm) in cases {
      #expect(abs(naturalLogarithm(x) - logarithm) <= 4e-16 * max(1, abs(logarithm)))
    }
  }

  @Test func permutationHoldsEveryNumberOnce() {
    var source = RandomSource(seed: 4)
    let order = source.permutation(count: 50)
    #expect(order.sorted() == Array(0..<50))
    #expect(order != Array(0..<50))
    #expect(source.permutation(count: 50) != order)
  }
}
