import Foundation
import NormaMetrics
import Testing

private func near(_ a: Double, _ b: Double) -> Bool { abs(a - b) < 1e-12 }

@Suite struct SegmentationScoresTests {
  /// The entry at threshold 0.5 of one slice.
  private func entry(_ truth: Picture, _ proposal: Picture, ignored: [Bool]? = nil) -> SegmentationScores.Entry {
    var scores = SegmentationScores(thresholds: [0.5])
    scores.add(
      truth: truth.truth, probabilities: proposal.probabilities, height: truth.height, width: truth.width,
      ignored: ignored)
    return scores.entries[0][0]
  }

  private let truth = Picture(
    "..#..",
    "..#..",
    "..#..")

  @Test func aGapByHand() {
    // The gap makes one segment of both regions, 6 pixels each: A² = ½, B² = 1, AB² = ½, I = 0; 1 pixel of 15 is wrong
    // and stays wrong under warping.
    let e = entry(truth, Picture("..#..", ".....", "..#.."))
    #expect(near(e[.rand], 1 / 1.5) && e[.info] == 0 && near(e[.randError], 1 - 1 / 1.5))
    #expect(near(e[.warpingError], 1.0 / 15) && near(e[.pixelError], 1.0 / 15) && near(e[.accuracy], 14.0 / 15))
    // 12 of 12 and 13 cells agree.
    #expect(near(e[.dice], 24.0 / 25) && near(e[.intersectionOverUnion], 12.0 / 13))
  }

  @Test func aShiftedBorderByHand() {
    // Segments: columns 0…1 of region 1, column 2 (which does not count) and column 4 of region 2; column 3 has
    // label 0. n = 12, p_11 = 6/12, p_20 = p_22 = 3/12: A² = ½, B² = AB² = 36/144 + 9/144 + 3/144 = 1/3.
    let e = entry(truth, Picture("...#.", "...#.", "...#."))
    #expect(near(e[.rand], (2.0 / 3) / (5.0 / 6)) && near(e.thinnedOverlap.randSplit, 2.0 / 3))
    #expect(e.thinnedOverlap.randMerge == 1 && near(e[.randError], 1 - (2.0 / 3) / (5.0 / 6)))
    // −S_A = ln 2 = I, −S_B = ½ ln 2 + ¼ ln 4 + ¼ ln 12.
    let segments = 0.5 * log(2) + 0.25 * log(4) + 0.25 * log(12)
    #expect(near(e[.info], 2 * log(2) / (log(2) + segments)))
    #expect(e[.warpingError] == 0 && near(e[.pixelError], 6.0 / 15))
  }

  @Test func aThickBorderByHand() {
    // Thinned, it is the truth. Before, half of the 12 pixels have label 0: B² = AB² = 2·(3/12)² + ½/12 = 1/6.
    let e = entry(truth, Picture(".###.", ".###.", ".###."))
    #expect(e[.rand] == 1 && near(e[.info], 1))
    #expect(near(e[.randError], 1 - (1.0 / 3) / (2.0 / 3)) && e[.warpingError] == 0)
  }

  @Test func uniformProposals() {
    for proposal in [Picture(".....", ".....", "....."), Picture("#####", "#####", "#####")] {
      let e = entry(truth, proposal)
      // One segment: as the gap.
      #expect(near(e[.rand], 1 / 1.5) && near(1 - e[.randError], 1 / 1.5) && e[.info] == 0)
    }
  }

  @Test func aSliceWithoutCells() {
    let empty = Picture("####", "####")
    for proposal in [empty, Picture("....", "...."), Picture(".#..", ".#..")] {
      let e = entry(empty, proposal)
      #expect(e[.rand] == 1 && e[.info] == 1 && e[.randError] == 0)
    }
    #expect(entry(empty, empty)[.warpingError] == 0 && entry(empty, empty)[.dice] == 1)
    // No cell may appear: all 6 pixels of those that are not there remain.
    #expect(entry(empty, Picture(".#..", ".#.."))[.warpingError] == 6.0 / 8)
  }

  @Test func tinySlices() {
    for (height, width) in [(1, 1), (1, 7), (7, 1), (2, 2)] {
      var generator = SplitMix(state: UInt64(height * 10 + width))
      for _ in 0..<20 {
        let truth = Picture.random(height: height, width: width, membrane: 0.4, using: &generator)
        let proposal = Picture.random(height: height, width: width, membrane: 0.4, using: &generator)
        let e = entry(truth, proposal)
        for score in SegmentationScore.allCases { #expect((0...1).contains(e[score])) }
      }
    }
  }

  @Test func aPerfectPrediction() {
    var generator = SplitMix(state: 5)
    for _ in 0..<20 {
      // Lines of a watershed, which thinning leaves.
      let random = Picture.random(height: 12, width: 9, membrane: 0.7, using: &generator)
      var segments = Segmentation(components: random.cells, height: 12, width: 9)
      segments.thinBorders()
      let truth = Picture(height: 12, width: 9, cells: segments.labels.map { $0 > 0 })
      let e = entry(truth, truth)
      for score in SegmentationScore.allCases { #expect(near(e[score], score.isError ? 0 : 1), "\(score)") }
    }
  }

  @Test func splittingAndMerging() {
    let truth = Picture(
      "...#...",
      "...#...",
      "...#...",
      "...#...")
    let split = entry(truth, Picture("...#...", "####...", "...#...", "...#...")).thinnedOverlap
    #expect(split.randSplit < 1 && split.randMerge == 1 && split.infoSplit < 1 && near(split.infoMerge, 1))
    let merged = entry(truth, Picture("...#...", "...#...", ".......", "...#...")).thinnedOverlap
    #expect(merged.randSplit == 1 && merged.randMerge < 1 && near(merged.infoSplit, 1) && merged.infoMerge < 1)
  }

  /// V_Rand without thinning by counting pairs, with components of the reference.
  private func referenceRand(_ truth: Picture, _ proposal: Picture) -> Double {
    let regions = truth.components(of: true)
    let isUniform = Set(proposal.cells).count == 1
    let segments = isUniform ? proposal.cells.map { _ in 1 } : proposal.components(of: true)
    let pixels = regions.indices.filter { regions[$0] > 0 }
    var (inTruth, inProposal, together) = (0.0, 0.0, 0.0)
    for p in pixels {
      for q in pixels {
        let a = regions[p] == regions[q]
        let b = p == q || (segments[p] == segments[q] && segments[p] > 0)
        inTruth += a ? 1 : 0
        inProposal += b ? 1 : 0
        together += a && b ? 1 : 0
      }
    }
    return pixels.isEmpty ? 1 : 2 * together / (inTruth + inProposal)
  }

  @Test func randErrorByCountingPairs() {
    var generator = SplitMix(state: 6)
    for _ in 0..<40 {
      let (height, width) = (Int.random(in: 1...8, using: &generator), Int.random(in: 1...8, using: &generator))
      let truth = Picture.random(height: height, width: width, membrane: 0.4, using: &generator)
      let proposal = Picture.random(height: height, width: width, membrane: 0.4, using: &generator)
      #expect(near(entry(truth, proposal)[.randError], 1 - referenceRand(truth, proposal)))
    }
  }

  @Test func ignoredPixelsDoNotCount() {
    // All that is wrong is ignored; the truth of ignored pixels still connects region 2.
    let proposal = Picture("..#..", "..###", "..#..")
    let ignored = (0..<15).map { $0 / 5 == 1 && $0 % 5 > 2 }
    let e = entry(truth, proposal, ignored: ignored)
    #expect(e[.accuracy] == 1 && e[.warpingError] == 0 && e.confusion.total == 13)
    // n = 10: regions of 6 and 4 pixels, of which region 2 falls into two segments of 2:
    // A² = 52/100, B² = AB² = (36 + 4 + 4)/100.
    #expect(near(e[.rand], 88.0 / 96) && e.thinnedOverlap.pixels == 10)

    let nothing = entry(truth, proposal, ignored: [Bool](repeating: true, count: 15))
    #expect(nothing[.rand] == 1 && nothing[.warpingError] == 0 && nothing[.accuracy].isNaN)
  }

  @Test func curvesAndTheBestThreshold() {
    // Two slices of one row, two cells each; the first is right for t in 0.2..<0.6, the second for t in 0.4..<0.8.
    let truth: [UInt8] = [1, 0, 1, 1, 0, 1]
    let probabilities: [Float] = [0.6, 0.2, 0.6, 0.8, 0.4, 0.8]
    let scores = SegmentationScores(truth: truth, probabilities: probabilities, slices: 2, height: 1, width: 3)
    #expect(scores.thresholds == SegmentationScores.defaultThresholds && scores.thresholds.count == 11)
    // Wrong is one segment or none, over two regions of one pixel: A² = ½, B² = 1, AB² = ½, V_Rand = 2/3; I = 0.
    let wrong = (2.0 / 3 + 1) / 2
    let rand = [2.0 / 3, 2.0 / 3, wrong, wrong, 1, 1, wrong, wrong, 2.0 / 3, 2.0 / 3, 2.0 / 3]
    #expect(zip(scores.curve(.rand), rand).allSatisfy(near), "\(scores.curve(.rand))")
    #expect(zip(scores.curve(.randError), rand).allSatisfy { near($0, 1 - $1) })
    // Of 0.4 and 0.5 the one nearer to 0.5.
    for score in SegmentationScore.allCases {
      let best = scores.best(score)
      #expect(near(best.value, score.isError ? 0 : 1) && best.threshold == 0.5 && best.index == 5, "\(score)")
    }
    // Pixels of both slices together: at t = 0.2 the second border is missed.
    #expect(near(scores.curve(.pixelError)[2], 1.0 / 6) && near(scores.curve(.dice)[2], 8.0 / 9))
    #expect(near(scores.mean(at: 2) { $0.thinnedOverlap.randMerge }, 0.75))

    var added = SegmentationScores()
    added.add(truth: Array(truth[..<3]), probabilities: Array(probabilities[..<3]), height: 1, width: 3)
    added.add(truth: Array(truth[3...]), probabilities: Array(probabilities[3...]), height: 1, width: 3)
    #expect(added == scores)
  }

  @Test func aProbabilityAtTheThresholdIsBackground() {
    // Also where the decimal has no exact Float.
    for (index, threshold) in SegmentationScores.defaultThresholds.enumerated() {
      let scores = SegmentationScores(truth: [0], probabilities: [threshold], slices: 1, height: 1, width: 1)
      #expect(scores.curve(.accuracy)[index] == 1)
      #expect(index == 0 || scores.curve(.accuracy)[index - 1] == 0)
    }
  }
}
