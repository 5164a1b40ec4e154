import NormaStatistics
import Testing

@Suite struct StudentTTests {
  /// Two-sided 95 % and 99 % quantiles, as in every printed table (here to the digits of SciPy 1.17's t.ppf).
  @Test(arguments: [
    (1.0, 12.706204736174694, 63.656741162871526), (2.0, 4.302652729749462, 9.924843200918287),
    (4.0, 2.7764451051977934, 4.604094871349992), (9.0, 2.262157162798205, 3.249835541592126),
    (30.0, 2.0422724563012378, 2.7499956535672254), (1000.0, 1.9623390808264083, 2.580754698065951),
  ])
  func quantilesAreThoseOfTables(_ freedom: Double, _ at95: Double, _ at99: Double) {
    let t = StudentT(freedom: freedom)
    #expect(abs(t.quantile(0.975) / at95 - 1) < 1e-11)
    #expect(abs(t.quantile(0.995) / at99 - 1) < 1e-11)
    #expect(abs(t.quantile(0.025) / at95 + 1) < 1e-11)
    #expect(abs(t.twoSided(at95) - 0.05) < 1e-12)
    #expect(abs(t.cumulative(t.quantile(0.3)) - 0.3) < 1e-12)
  }

  /// With one and two degrees of freedom there are closed forms.
  @Test func closedForms() {
    for x in [-7.0, -1, -0.2, 0, 0.3, 2, 50] {
      #expect(abs(StudentT(freedom: 2).cumulative(x) - (0.5 + x / (2 * (2 + x * x).squareRoot()))) < 1e-13)
    }
    #expect(abs(StudentT(freedom: 1).cumulative(1) - 0.75) < 1e-13)
    #expect(StudentT(freedom: 3).cumulative(.infinity) == 1)
    #expect(StudentT(freedom: 3).twoSided(-.infinity) == 0)
  }
}

@Suite struct PairedComparisonTests {
  /// By hand: differences 1, 2, 3, 4, 5: mean 3, s² = 10 / 4 = 2.5, t = 3 / √(2.5 / 5) = 4.2426; p (4 degrees) = 0.0132.
  @Test func handComputed() throws {
    let comparison = PairedComparison("a", [2, 4, 6, 8, 10], "b", [1, 2, 3, 4, 5])
    #expect(comparison.difference.mean == 3)
    #expect(abs(try #require(comparison.difference.deviation) - 2.5.squareRoot()) < 1e-15)
    #expect(abs(try #require(comparison.halfWidth) - 2.7764451052 * 0.5.squareRoot()) < 1e-9)
    #expect(abs(try #require(comparison.pValue) - 0.013235) < 1e-6)
  }

  @Test func swappingTurnsTheSignAndNothingElse() {
    let (a, b) = ([0.3, 0.5, 0.1, 0.9], [0.2, 0.6, 0.05, 0.5])
    let (one, other) = (PairedComparison("a", a, "b", b), PairedComparison("b", b, "a", a))
    #expect(one.difference.mean == -other.difference.mean)
    #expect(one.pValue == other.pValue)
    #expect(one.halfWidth == other.halfWidth)
  }

  @Test func fewOrEqualNumbers() {
    #expect(PairedComparison("a", [1], "b", [2]).pValue == nil)
    #expect(PairedComparison("a", [1], "b", [2]).halfWidth == nil)
    #expect(PairedComparison("a", [1, 2], "b", [1, 2]).pValue == 1)
    #expect(PairedComparison("a", [2, 3], "b", [1, 2]).pValue == 0)
  }

  /// Under the null hypothesis an interval of 95 % leaves out the truth once in twenty times.
  @Test func intervalsCoverAsTheySay() {
    var state: UInt64 = 42
    func uniform() -> Double {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Double(state >> 11) / 9_007_199_254_740_992
    }
    func normal() -> Double { (0..<12).reduce(-6.0) { sum, _ in sum + uniform() } }
    var (outside, rejected) = (0, 0)
    let trials = 4000
    for _ in 0..<trials {
      let a = (0..<5).map { _ in normal() }
      let comparison = PairedComparison("a", a, "b", a.map { $0 + normal() })
      if abs(comparison.difference.mean) > comparison.halfWidth! { outside += 1 }
      if comparison.pValue! < 0.05 { rejected += 1 }
    }
    #expect(outside == rejected, "interval and test say the same")
    // Binomial: 200 ± 4 · 13.8.
    #expect((145...255).contains(outside))
  }

  /// The example of Holm's procedure: sorted .01 .02 .03 .04 → ·4 ·3 ·2 ·1, made monotone.
  @Test func holm() {
    let adjusted = holmAdjusted([0.04, 0.01, 0.03, 0.02])
    for (value, expected) in zip(adjusted, [0.06, 0.04, 0.06, 0.06]) { #expect(abs(value - expected) < 1e-15) }
    #expect(holmAdjusted([0.9, 0.8]) == [1, 1])
    #expect(holmAdjusted([]).isEmpty)
  }
}
