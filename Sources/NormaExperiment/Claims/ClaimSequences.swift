#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

import NormaData
import NormaNN
import NormaNormalization
import NormaTensor
import NormaTraining

/// Sequences [N, 20, 8] of noise whose first three steps hold one of four patterns, of varying loudness.
enum ClaimSequences {
  static let inputs = 8
  static let length = 20

  static func batch(_ count: Int, seed: UInt64) throws -> ClaimData.Batch {
    var random = RandomSource(seed: seed)
    var values: [Float] = []
    var labels: [Int64] = []
    for _ in 0..<count {
      let label = random.integer(below: 4)
      let loudness = random.uniform(in: 0.3...3.0)
      for step in 0..<length {
        for input in 0..<inputs {
          let pattern = step < 3 && input / 2 == label ? 1.0 : 0
          values.append(Float(loudness * (pattern + 0.3 * random.normal())))
        }
      }
      labels.append(Int64(label))
    }
    return ClaimData.Batch(images: try Tensor(values, shape: [count, length, inputs]), labels: try Tensor(labels))
  }
}

/// Training steps of one norm, timed one by one.
final class TimedSteps {
  private let network: ClaimNetwork
  private let optimizer: any Optimizer
  private let batch: ClaimData.Batch
  private var milliseconds: [Double] = []

  init(_ norm: Normalization, _ setting: ClaimSetting, seed: UInt64) throws {
    var trial = setting.trial
    (trial.norm, trial.width) = (norm, 32)
    network = try ClaimNetwork(trial, data: setting.data, generator: try Generator(seed: seed))
    optimizer = try OptimizerKind.sgd.make(
      parameters: network.parameters, learningRate: 0.01, momentum: 0.9, weightDecay: 0)
    batch = try setting.data.batch(trial.batchSize, seed: trial.picturesSeed(seed, 1))
  }

  func run() throws {
    let time = try ContinuousClock().measure {
      try network.clearGradients()
      try network(batch.images).crossEntropy(target: batch.labels).backward()
      try optimizer.step()
    }
    milliseconds.append(time / .milliseconds(1))
  }

  var median: Double { milliseconds.sorted()[milliseconds.count / 2] }
}

func logarithm(_ value: Double) -> Double { log10(value) }
func naturalLogarithm(_ value: Double) -> Double { log(value) }
