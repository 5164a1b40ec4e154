import Testing

@testable import NormaPrediction

@Suite struct TileAxisTests {
  /// Cores follow one another without gap, keep the halo, and weights of both blends sum to one everywhere.
  @Test(arguments: [64, 80, 96, 160, 208, 1008], TileBlend.allCases)
  func coresCoverAndWeightsSumToOne(extent: Int, blend: TileBlend) {
    for halo in [0, 16, 24] { check(extent, halo, blend) }
  }

  private func check(_ extent: Int, _ halo: Int, _ blend: TileBlend) {
    let spans = TileAxis(extent: extent, tile: 64, halo: halo, blend: blend).spans
    #expect(spans.first?.core.lowerBound == 0 && spans.last?.core.upperBound == extent)
    for (a, b) in zip(spans, spans.dropFirst()) {
      #expect(a.core.upperBound == b.core.lowerBound && a.tile.lowerBound < b.tile.lowerBound)
    }
    var sums = [Double](repeating: 0, count: extent)
    for span in spans {
      #expect(span.tile.count == min(64, extent) && !span.core.isEmpty)
      #expect(span.tile.lowerBound == 0 || span.core.lowerBound - span.tile.lowerBound >= halo)
      #expect(span.tile.upperBound == extent || span.tile.upperBound - span.core.upperBound >= halo)
      #expect(span.weights.count == span.kept.count && span.weights.allSatisfy { $0 > 0 && $0 <= 1 })
      for (place, weight) in zip(span.kept, span.weights) { sums[place] += Double(weight) }
    }
    #expect(sums.allSatisfy { abs($0 - 1) < 1e-6 })
  }

  @Test func aPageThatFitsIsOneTile() {
    let spans = TileAxis(extent: 48, tile: 64, halo: 64, blend: .gaussian).spans
    #expect(spans.count == 1 && spans[0].tile == 0..<48 && spans[0].kept == 0..<48)
    #expect(spans[0].weights.allSatisfy { $0 == 1 })
  }

  @Test func mirrorImages() {
    #expect((0..<10).map { mirrored($0, 4) } == [0, 1, 2, 3, 2, 1, 0, 1, 2, 3])
    #expect((0..<4).map { mirrored($0, 1) } == [0, 0, 0, 0])
  }
}
