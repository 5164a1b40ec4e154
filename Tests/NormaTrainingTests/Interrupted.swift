import NormaDistributed
import NormaFormats
import NormaRecords
import NormaTensor
import NormaTraining

/// Everything of a training that must not depend on interruptions.
struct TrainingResult: Equatable {
  let history: [EpochRecord]
  let bestEpoch: Int?
  let steps: Int
  /// The network's state after the last epoch and after the best one.
  let last: [String: [Double]]
  let best: [String: [Double]]

  init<Task>(_ trainer: Trainer<Task>) throws {
    func state() throws -> [String: [Double]] {
      var all: [String: [Double]] = [:]
      for (key, value) in trainer.task.model.stateDictionary() { all[key] = try value.array() }
      return all
    }
    last = try state()
    try trainer.restoreBest()
    best = try state()
    history = trainer.history.map {
      var record = $0
      (record.seconds, record.validationSeconds, record.dataWaitSeconds) = (0, 0, 0)
      return record
    }
    bestEpoch = trainer.bestEpoch
    steps = trainer.stepMilliseconds.count
  }
}

/// Trains, asked to end after every `steps` steps, each time going on with fresh objects.
func interrupted<Task>(
  every steps: Int, at path: String, _ make: () throws -> Trainer<Task>
) throws -> (result: TrainingResult, parts: Int) {
  for part in 1...100 {
    let trainer = try make()
    if part > 1 {
      if ProcessGroup.leads { try trainer.restore(from: SafetensorsReader(path)) }
      try trainer.shareRestored()
    }
    var done = 0
    do {
      try trainer.run(
        onStep: { _ in done += 1 },
        checkpoints: CheckpointPlan(isInterrupted: { done >= steps }) { try trainer.writeCheckpoint(to: path) })
      return (try TrainingResult(trainer), part)
    } catch is TrainingInterrupted {}
  }
  throw TrainingError("no end")
}
