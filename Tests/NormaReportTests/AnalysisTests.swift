import NormaRecords
import NormaReport
import Testing

@Suite struct AnalysisTests {
  /// Runs of one norm, one per seed, with IoU of the given values.
  private func runs(_ norm: String, _ values: [Double], batchSize: Int = 1, loss: Double = 0.25) -> [RunRecord] {
    values.enumerated().map { seed, value in
      run(
        norm, [epoch(1, validationLoss: loss + 0.5), epoch(2, validationLoss: loss)], batchSize: batchSize,
        seed: UInt64(seed), scores: [.iou: value])
    }
  }

  @Test func aClearLeadWins() throws {
    // Differences per seed of about 0.1 with a deviation of about 0.002.
    let a = [0.801, 0.812, 0.793, 0.805, 0.799]
    let b = [0.700, 0.710, 0.695, 0.703, 0.700]
    let analysis = comparison(runs("batch", b) + runs("group", a)).analyzed()
    #expect(analysis.count == 1)
    let found = try #require(analysis.first)
    #expect(found.winner == "group")
    #expect(found.verdict.hasPrefix("group is best"))
    let pair = try #require(found.pairs.first)
    #expect(pair.first == "batch" && pair.second == "group")
    // scipy.stats.ttest_rel(b, a) and the t interval of the differences.
    #expect(abs(pair.difference.mean - -0.1004) < 1e-12)
    #expect(abs(pair.pValue! - 2.5710748929906608e-08) < 1e-14)
    #expect(pair.adjustedPValue == pair.pValue, "one pair needs no correction")
    #expect(found.contenders.map(\.norm) == ["batch", "group"])
    #expect(abs(found.contenders[1].scores["iou"]!.mean - 0.802) < 1e-12)
  }

  @Test func lowerIsBetterForErrors() {
    func errors(_ norm: String, _ values: [Double]) -> [RunRecord] {
      values.enumerated().map { run(norm, seed: UInt64($0), scores: [.randError: $1]) }
    }
    let analysis = comparison(
      errors("batch", [0.3, 0.31, 0.29, 0.3, 0.305]) + errors("group", [0.2, 0.21, 0.19, 0.2, 0.204]),
      score: .randError
    ).analyzed()
    #expect(analysis[0].winner == "group")
  }

  @Test func noWinnerWithoutEvidence() {
    // The same means but for noise.
    let noisy = comparison(
      runs("batch", [0.7, 0.8, 0.6, 0.75, 0.65]) + runs("group", [0.72, 0.7, 0.75, 0.66, 0.71])
        + runs("none", [0.1, 0.11, 0.12, 0.09, 0.1])
    ).analyzed()[0]
    #expect(noisy.winner == nil)
    #expect(noisy.verdict.hasPrefix("No winner"))
    #expect(noisy.verdict.contains("no difference to batch"))
    #expect(noisy.verdict.contains("ahead of none"))
    #expect(noisy.pairs.count == 3)
    for pair in noisy.pairs { #expect(pair.adjustedPValue! >= pair.pValue!) }
  }

  @Test(arguments: 1...4) func fewSeedsNameNoWinner(_ count: Int) {
    let analysis = comparison(
      runs("batch", Array([0.1, 0.11, 0.12, 0.1].prefix(count)))
        + runs("group", Array([0.9, 0.91, 0.92, 0.9].prefix(count)))
    ).analyzed()[0]
    #expect(analysis.winner == nil)
    #expect(analysis.verdict.contains(count == 1 ? "One run per norm" : "too few to name a winner"))
  }

  @Test func aNormThatFailsCannotWin() {
    var all = runs("batch", [0.7, 0.71, 0.7, 0.69, 0.7]) + runs("group", [0.9, 0.91, 0.9, 0.89, 0.9])
    all[7].failure = "the loss became nan"
    all[7].scores = [:]
    let analysis = comparison(all).analyzed()[0]
    #expect(analysis.winner == nil)
    #expect(analysis.verdict.contains("group (1 of 5 runs failed)"))
    #expect(analysis.contenders[1].failures == 1)
    #expect(analysis.contenders[1].scores["iou"]?.count == 4)
    #expect(analysis.pairs.isEmpty, "it has no place in the correction either")
  }

  @Test func aFailedNormDoesNotKeepOthersFromAVerdict() {
    var all =
      runs("batch", [0.7, 0.71, 0.69, 0.7, 0.705]) + runs("group", [0.8, 0.812, 0.79, 0.8, 0.803])
      + runs("layer", [0.7, 0.7, 0.7, 0.7, 0.7])
    for index in 10..<14 {
      all[index].failure = "the loss became NaN"
      all[index].scores = [:]
    }
    let analysis = comparison(all).analyzed()[0]
    #expect(analysis.winner == "group")
    #expect(analysis.verdict.contains("layer (4 of 5 runs failed)"))
    #expect(analysis.pairs.count == 1)
  }

  @Test func onlySeedsInCommonAreRanked() {
    // Alone batch has the higher mean, by seeds that group was not trained with.
    let batch = runs("batch", [0.7, 0.71, 0.69, 0.7, 0.705, 0.9, 0.91, 0.92, 0.9, 0.9])
    let analysis = comparison(batch + runs("group", [0.75, 0.761, 0.739, 0.75, 0.756])).analyzed()[0]
    #expect(analysis.winner == "group", "\(analysis.verdict)")
    let apart = comparison(runs("batch", [0.7, 0.7]) + runs("group", [0.7, 0.7, 0.8, 0.8]).suffix(2)).analyzed()[0]
    #expect(apart.winner == nil && apart.verdict.contains("no seed in common"))
  }

  @Test func aLearningRateOfFewSeedsIsNotYetCompared() {
    var early = run("batch", [epoch(1, validationLoss: 0.01)], learningRate: 0.1, scores: [.iou: 0.99])
    early.cell.seed = 0
    #expect(comparison(runs("batch", [0.5, 0.6]) + [early]).analyzed()[0].contenders[0].learningRate == 0.001)
  }

  @Test func unfinishedRunsDoNotCount() {
    var all = runs("batch", [0.7, 0.71])
    all[1].isFinished = false
    #expect(comparison(all).analyzed()[0].contenders[0].seeds == [0])
    #expect(comparison([]).analyzed().isEmpty)
  }

  @Test func learningRatesAreChosenByValidationLossAndNeverByScores() throws {
    func at(_ rate: Double, loss: Double, score: Double, fails: Bool = false) -> [RunRecord] {
      (0..<2).map { seed in
        var one = run(
          "batch", [epoch(1, validationLoss: loss)], learningRate: rate, seed: UInt64(seed), scores: [.iou: score])
        if fails, seed == 1 {
          one.failure = "diverged"
          one.scores = [:]
        }
        return one
      }
    }
    let analysis = comparison(
      at(0.1, loss: 0.05, score: 0.9, fails: true) + at(0.01, loss: 0.2, score: 0.5) + at(0.001, loss: 0.3, score: 0.8)
    ).analyzed()[0]
    #expect(analysis.contenders.count == 1)
    #expect(analysis.contenders[0].learningRate == 0.01, "few failures, then low losses; scores play no part")
    #expect(analysis.contenders[0].scores["iou"]?.mean == 0.5)
  }

  @Test func batchSizesAreComparedByThemselves() {
    let analysis = comparison(
      runs("batch", [0.5, 0.5], batchSize: 1) + runs("batch", [0.9, 0.9], batchSize: 4)
        + runs("group", [0.7, 0.7], batchSize: 1) + runs("group", [0.7, 0.7], batchSize: 4)
    ).analyzed()
    #expect(analysis.map(\.batchSize) == [1, 4])
    #expect(analysis.allSatisfy { $0.pairs.count == 1 && $0.contenders.count == 2 })
  }

  @Test func epochsToTheTargetOfBatch() throws {
    let all =
      runs("group", [0.5, 0.5], loss: 0.2) + runs("batch", [0.5, 0.5], loss: 0.3) + runs("none", [0.5], loss: 0.4)
    let analysis = comparison(all).analyzed()[0]
    #expect(analysis.targetLoss == 0.3)
    #expect(analysis.contenders[0].epochsToTarget?.mean == 2)
    #expect(analysis.contenders[2].epochsToTarget == nil, "never reached")
  }

  @Test func holmOverThePairs() throws {
    // Three norms, three pairs: the smallest p is multiplied by 3, the next by 2.
    let analysis = comparison(
      runs("a", [0.5, 0.52, 0.51, 0.49, 0.5]) + runs("b", [0.6, 0.61, 0.63, 0.58, 0.6])
        + runs("c", [0.61, 0.62, 0.62, 0.6, 0.59])
    ).analyzed()[0]
    let sorted = analysis.pairs.sorted { $0.pValue! < $1.pValue! }
    #expect(abs(sorted[0].adjustedPValue! - 3 * sorted[0].pValue!) < 1e-15)
    #expect(abs(sorted[1].adjustedPValue! - max(2 * sorted[1].pValue!, sorted[0].adjustedPValue!)) < 1e-15)
  }
}
