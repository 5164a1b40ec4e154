import NormaData
import Testing

@Suite struct BatchPlanTests {
  @Test(arguments: [1, 2, 3, 5, 64], [1, 2, 3, 4, 7])
  func everySampleComesOnce(batchSize: Int, workers: Int) {
    for samples in [1, 2, 3, 7, 10, 29, 130, 131] {
      var plans = (0..<workers).map { rank in
        var plan = BatchPlan(samples: samples, batchSize: batchSize)
        (plan.rank, plan.workers) = (rank, workers)
        return plan
      }
      // Also when a training goes on that had other numbers.
      for skipped in [0, min(3, samples)] {
        for rank in plans.indices { plans[rank].skipped = skipped }
        var seen: [Int] = []
        for round in 0..<plans[0].roundCount {
          let batches = plans.map { $0.batch(inRound: round) }
          for batch in batches {
            #expect((1...batchSize).contains(batch.samples.count))
            #expect(batch.samples.lowerBound >= 0 && batch.samples.upperBound <= samples)
            if batch.counts { seen += batch.samples }
          }
          let sizes = batches.filter(\.counts).map(\.samples.count)
          #expect((sizes.max() ?? 0) - (sizes.min() ?? 0) <= 1)
          // Norms of the batch may need two.
          let all = plans[0].samples(inRound: round).count
          if all > 1, all <= all / 2 * batchSize { #expect(!sizes.contains(1)) }
        }
        #expect(seen == Array(skipped..<samples))
      }
    }
  }

  @Test func steps() {
    var plan = BatchPlan(samples: 29, batchSize: 2)
    (plan.workers, plan.roundsPerStep) = (3, 2)
    #expect(plan.samplesPerStep == 12 && plan.stepCount == 3 && plan.roundCount == 5)
    plan.skipped = 12
    #expect(plan.roundCount == 3 && plan.samples(inRound: 2) == 24..<29)
  }
}
