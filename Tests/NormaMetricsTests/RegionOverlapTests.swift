import Foundation
import NormaMetrics
import Testing

private func near(_ a: Double, _ b: Double) -> Bool { abs(a - b) < 1e-12 }

@Suite struct RegionOverlapTests {
  /// The pairs in truth, proposal and both.
  private func pairs(_ o: RegionOverlap) -> [Int] { [o.truthPairs, o.proposalPairs, o.jointPairs] }

  @Test func aSplitByHand() {
    // Two regions of 4 pixels, the first split in 2 + 2: A² = 2·(4/8)² = 32/64, B² = AB² = (4 + 4 + 16)/64.
    let o = RegionOverlap(truth: [1, 1, 1, 1, 2, 2, 2, 2], proposal: [1, 1, 2, 2, 3, 3, 3, 3])
    #expect(o.pixels == 8 && pairs(o) == [32, 24, 24])
    #expect(near(o.rand, 48.0 / 56))
    #expect(o.randSplit == 0.75 && o.randMerge == 1)
    // −S_A = ln 2, −S_B = 2·¼ ln 4 + ½ ln 2 = 1.5 ln 2, I = ln 2.
    #expect(near(o.truthEntropy, log(2)) && near(o.proposalEntropy, 1.5 * log(2)) && near(o.information, log(2)))
    #expect(near(o.info, 2 / 2.5) && near(o.infoSplit, 1 / 1.5) && near(o.infoMerge, 1))
  }

  @Test func aMergeByHand() {
    // One segment over two regions of 2 pixels: A² = 2·(½)² = ½, B² = 1, AB² = ½; I = 0.
    let o = RegionOverlap(truth: [1, 1, 2, 2], proposal: [7, 7, 7, 7])
    #expect(near(o.rand, 1 / 1.5) && o.randSplit == 1 && o.randMerge == 0.5)
    #expect(o.info == 0 && o.infoMerge == 0)
  }

  @Test func borderPixelsByHand() {
    // n = 4: the first pixel has no truth. z = 2/4, a = (½, ½), b = (¼, ¼):
    // A² = ½, B² = AB² = 2/16 + ½/4 = ¼. −S_A = ln 2, −S_B = ½ ln 4 + ½ ln 4 = 2 ln 2 = −S_AB, I = ln 2.
    let o = RegionOverlap(truth: [0, 1, 1, 2, 2], proposal: [1, 1, 0, 2, 0])
    #expect(near(o.rand, 2 * 0.25 / 0.75) && near(o.randSplit, 0.5) && o.randMerge == 1)
    #expect(near(o.info, 2.0 / 3) && near(o.infoSplit, 0.5) && near(o.infoMerge, 1))
    #expect(
      o
        == RegionOverlap(
          truth: [3, 0, 1, 1, 2, 2], proposal: [9, 1, 1, 0, 2, 0],
          ignored: [true] + [false, false, false, false, false]))
  }

  @Test func whatIsNothingOverNothing() {
    for o in [
      RegionOverlap(truth: [], proposal: []), RegionOverlap(truth: [0, 0], proposal: [1, 0]),
      RegionOverlap(truth: [1, 1], proposal: [5, 5]), RegionOverlap(truth: [1], proposal: [0]),
    ] {
      #expect([o.rand, o.randSplit, o.randMerge, o.info, o.infoSplit, o.infoMerge] == [1, 1, 1, 1, 1, 1])
    }
  }

  private func labels(_ count: Int, _ range: ClosedRange<Int32>, _ generator: inout SplitMix) -> [Int32] {
    (0..<count).map { _ in Int32.random(in: range, using: &generator) }
  }

  @Test func pairCountingAgrees() {
    var generator = SplitMix(state: 2)
    for _ in 0..<60 {
      let count = Int.random(in: 1...40, using: &generator)
      let truth = labels(count, 0...4, &generator)
      let proposal = labels(count, 0...5, &generator)
      let o = RegionOverlap(truth: truth, proposal: proposal)
      // Over all ordered pairs of pixels that count, each with itself too.
      let pixels = truth.indices.filter { truth[$0] > 0 }
      func share(_ p: Int, _ q: Int) -> Bool { p == q || (proposal[p] > 0 && proposal[p] == proposal[q]) }
      var (together, inTruth, inProposal) = (0, 0, 0)
      var (truthEntropy, proposalEntropy, jointEntropy) = (0.0, 0.0, 0.0)
      for p in pixels {
        let same = pixels.filter { truth[$0] == truth[p] }
        let segment = pixels.filter { share(p, $0) }
        let both = segment.filter { truth[$0] == truth[p] }
        inTruth += same.count
        inProposal += segment.count
        together += both.count
        let n = Double(pixels.count)
        truthEntropy -= log(Double(same.count) / n) / n
        proposalEntropy -= log(Double(segment.count) / n) / n
        jointEntropy -= log(Double(both.count) / n) / n
      }
      if pixels.isEmpty { continue }
      #expect(pairs(o) == [inTruth, inProposal, together])
      #expect(near(o.rand, 2 * Double(together) / Double(inTruth + inProposal)))
      #expect(near(o.truthEntropy, truthEntropy) && near(o.proposalEntropy, proposalEntropy))
      #expect(near(o.information, truthEntropy + proposalEntropy - jointEntropy))
    }
  }

  @Test func propertiesOnRandomLabels() {
    var generator = SplitMix(state: 3)
    for _ in 0..<40 {
      let truth = labels(60, 1...6, &generator)
      let proposal = labels(60, 1...9, &generator)
      let o = RegionOverlap(truth: truth, proposal: proposal)
      for value in [o.rand, o.randSplit, o.randMerge, o.info, o.infoSplit, o.infoMerge] {
        #expect((0...1).contains(value))
      }
      // Other numbers for the same regions.
      let renamed = RegionOverlap(
        truth: truth.map { [0, 900, 4, 2, 1, 3, 8][Int($0)] }, proposal: proposal.map { 10 - $0 })
      #expect(pairs(renamed) == pairs(o))
      #expect(near(renamed.info, o.info))
      // Without borders, truth and proposal may change places: split becomes merge.
      let turned = RegionOverlap(truth: proposal, proposal: truth)
      #expect(turned.rand == o.rand && near(turned.info, o.info))
      #expect(turned.randSplit == o.randMerge && near(turned.infoSplit, o.infoMerge))

      let perfect = RegionOverlap(truth: truth, proposal: truth.map { $0 + 3 })
      #expect(perfect.rand == 1 && perfect.randSplit == 1 && perfect.randMerge == 1)
      #expect(near(perfect.info, 1) && near(perfect.infoSplit, 1) && near(perfect.infoMerge, 1))

      // Half of region 1 becomes a segment of its own.
      let split = RegionOverlap(truth: truth, proposal: truth.enumerated().map { $1 == 1 && $0 < 30 ? 77 : $1 })
      if truth.prefix(30).contains(1), truth.suffix(30).contains(1) {
        #expect(split.randSplit < 1 && split.randMerge == 1 && split.rand < 1)
        #expect(split.infoSplit < 1 && near(split.infoMerge, 1) && split.info < 1)
      }
      // Regions 1 and 2 become one segment.
      let merged = RegionOverlap(truth: truth, proposal: truth.map { $0 == 2 ? 1 : $0 })
      #expect(merged.randSplit == 1 && merged.randMerge < 1 && merged.rand < 1)
      #expect(near(merged.infoSplit, 1) && merged.infoMerge < 1 && merged.info < 1)
    }
  }
}
