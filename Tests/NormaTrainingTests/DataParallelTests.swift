import NormaData
import NormaDistributed
import NormaNN
import NormaNormalization
import NormaRecords
import NormaTensor
import NormaTraining
import TestSupport
import Testing
import WorkerSupport

/// Several workers train as one process does that has their batches together.
@Suite(.serialized) struct DataParallelTests {
  /// In Double, without dropout, whose numbers are every worker's own.
  private static func training(
    _ norm: String, batchSize: Int, samples: Int, accumulated: Int = 1, penalty: Bool = false
  ) throws -> CheckpointTests.Training {
    let training = try CheckpointTests.Training(
      Normalization(parsing: norm),
      {
        ($0.loader.batchSize, $0.loader.samplesPerEpoch) = (batchSize, samples)
        ($0.optimizer, $0.momentum, $0.learningRate, $0.schedule) = (.sgd, 0.9, 0.05, .cosine)
        ($0.accumulatedBatches, $0.dtype) = (accumulated, .float64)
      }, network: { $0.dropout = 0 })
    return training
  }

  private static func result(
    _ norm: String, batchSize: Int, samples: Int, accumulated: Int = 1
  ) throws -> TrainingResult {
    let training = try training(norm, batchSize: batchSize, samples: samples, accumulated: accumulated)
    try training.trainer.run()
    return try training.result()
  }

  /// The largest difference of weights, statistics, losses and scores, relative to the largest of each.
  private static func error(_ a: TrainingResult, _ b: TrainingResult) -> Double {
    #expect(a.last.keys == b.last.keys && a.history.count == b.history.count && a.bestEpoch == b.bestEpoch)
    func numbers(_ history: [EpochRecord]) -> [Double] {
      history.flatMap { [$0.loss, $0.validationLoss, $0.scores["accuracy"] ?? .nan] + $0.validationDice }
    }
    let pairs = a.last.map { ($0.value, b.last[$0.key] ?? []) } + [(numbers(a.history), numbers(b.history))]
    // Biases before a norm of the batch have no gradient but what rounding leaves.
    func size(_ values: [Double]) -> Double { max(1e-2, values.map(abs).max() ?? 0) }
    return pairs.map { a, b in (zip(a, b).map { abs($0 - $1) }.max() ?? 0) / size(b) }.max() ?? .infinity
  }

  struct Case: Sendable, CustomTestStringConvertible {
    var norm: String
    /// What one process has in its place.
    var alone: String?
    var workers: Int
    var samples: Int
    var accumulated = 1
    var testDescription: String { "\(norm), \(workers) workers, \(samples) samples, \(accumulated) batches per step" }
  }

  /// Batches of 2 per worker. 11 samples leave 3 for the last round: fewer than 4 workers. 13 leave 1.
  static let cases = [
    Case(norm: "group:2", workers: 2, samples: 11), Case(norm: "group:2", workers: 3, samples: 13),
    Case(norm: "group:2", workers: 4, samples: 11), Case(norm: "group:2", workers: 2, samples: 13, accumulated: 2),
    Case(norm: "batch:synchronized", workers: 2, samples: 11),
    Case(norm: "batch:synchronized", workers: 3, samples: 13),
    Case(norm: "switchable:synchronized", workers: 4, samples: 11),
    Case(norm: "switchable:synchronized", workers: 2, samples: 13),
    // Statistics of every worker's own are those of ghost batches.
    Case(norm: "batch:keras", alone: "batch:keras:ghost=2", workers: 2, samples: 11),
    Case(norm: "batch", alone: "batch:ghost=2", workers: 3, samples: 12),
    Case(norm: "switchable", alone: "switchable:instance+layer+ghost(2)", workers: 2, samples: 11),
  ]

  @Test(arguments: cases) func workersAreOneProcess(_ test: Case) throws {
    // What is accumulated is not one batch for norms that look at batches, which the cases leave out.
    let whole = try Self.result(
      test.alone ?? test.norm, batchSize: 2 * test.workers * test.accumulated, samples: test.samples)
    let results = try withWorkers(test.workers) { _ in
      try Self.result(test.norm, batchSize: 2, samples: test.samples, accumulated: test.accumulated)
    }
    for result in results {
      #expect(result == results[0])
      #expect(result.steps == whole.steps)
    }
    #expect(Self.error(results[0], whole) < 1e-9)
  }

  /// The comparison finds gradients that are not summed: other samples give another training.
  @Test func otherSamplesShow() throws {
    let a = try Self.result("group:2", batchSize: 4, samples: 12)
    #expect(Self.error(try Self.result("group:2", batchSize: 3, samples: 12), a) > 1e-3)
    #expect(Self.error(try Self.result("group:2", batchSize: 2, samples: 12, accumulated: 2), a) < 1e-9)
  }

  @Test(arguments: ["switchable:synchronized", "batch"], [2, 3])
  func goesOnBitForBit(_ norm: String, _ workers: Int) throws {
    let folder = try TemporaryFolder()
    let path = folder.path("c")
    @Sendable func make() throws -> CheckpointTests.Training {
      try CheckpointTests.Training(Normalization(parsing: norm)) {
        ($0.averageDecay, $0.loader.samplesPerEpoch) = (0.9, 13)
      }
    }
    let whole = try withWorkers(workers) { _ in
      let training = try make()
      try training.trainer.run()
      return try training.result()
    }
    let parts = try withWorkers(workers) { _ in try interrupted(every: 2, at: path) { try make().trainer } }
    for part in parts {
      #expect(part.result == whole[0])
      #expect(part.parts > 2)
    }
  }

  /// From two workers to three to one, in the middle of epochs: every sample is seen once per epoch all the same.
  @Test func goesOnWithOtherNumbersOfWorkers() throws {
    let folder = try TemporaryFolder()
    let path = folder.path("c")
    /// Stops after the given number of steps; nil trains to the end.
    @Sendable func part(_ workers: Int, from isFirst: Bool, steps: Int?) throws -> [(TrainingState, Int?)] {
      try withWorkers(workers) { group in
        let trainer = try CheckpointTests.Training(.group(groups: 2)) { $0.loader.samplesPerEpoch = 31 }.trainer
        if !isFirst {
          if group.rank == 0 { try trainer.restore(from: .init(path)) }
          try trainer.shareRestored()
        }
        var done = 0
        do {
          try trainer.run(
            onStep: { _ in done += 1 },
            checkpoints: CheckpointPlan(isInterrupted: { steps.map { done + 1 >= $0 } ?? false }) {
              try trainer.writeCheckpoint(to: path)
            })
        } catch is TrainingInterrupted {}
        return (trainer.state, trainer.bestEpoch)
      }
    }
    let first = try part(2, from: true, steps: 3)
    #expect(first[0].0.epoch.samples == 12)
    let second = try part(3, from: false, steps: 2)
    #expect(second[0].0.epoch.samples == 24)
    #expect(second[2].0.epoch.loss == second[0].0.epoch.loss)
    let last = try part(1, from: false, steps: nil)
    // 3 + 2 + 4 steps of the first epoch, then 16 of each.
    #expect(last[0].0.stepMilliseconds.count == 9 + 2 * 16)
    #expect(last[0].0.history.count == 3)
  }

  private struct Broken: Error, CustomStringConvertible { let description = "this worker is out of paper" }

  @Test func aWorkerThatFailsIsNamedByTheOthers() throws {
    let results = try workerResults(3) { group in
      let training = try Self.training("batch:synchronized", batchSize: 2, samples: 12)
      try training.trainer.run(onStep: { if group.rank == 1, $0.step == 2 { throw Broken() } })
    }
    for (rank, result) in results.enumerated() {
      let error = #expect(throws: (any Error).self) { try result.get() }
      #expect("\(error!)" == (rank == 1 ? "" : "rank 1 of 3 failed: ") + "this worker is out of paper")
    }
  }

  /// All end with the same words where one alone sees what is wrong.
  @Test func aLossThatIsNotFinite() throws {
    let results = try workerResults(2) { group in
      let training = try Self.training("group:2", batchSize: 2, samples: 12)
      try training.trainer.run(onStep: { _ in
        if group.rank == 1 { try training.model.parameters[0].value.fill(.infinity) }
      })
    }
    for result in results {
      let error = #expect(throws: TrainingError.self) { try result.get() }
      #expect("\(error!)".hasPrefix("the loss became NaN in epoch 1, step 2"))
    }
  }
}
