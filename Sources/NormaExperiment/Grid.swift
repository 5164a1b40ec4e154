import NormaNormalization
import NormaRecords

/// What is varied between trainings that are otherwise alike.
public struct Grid: Sendable {
  public var norms: [Normalization]
  public var batchSizes: [Int]
  public var learningRates: [Double]
  public var seeds: [UInt64]

  public init(norms: [Normalization], batchSizes: [Int], learningRates: [Double], seeds: [UInt64]) {
    self.norms = norms
    self.batchSizes = batchSizes
    self.learningRates = learningRates
    self.seeds = seeds
  }

  public struct Cell: Sendable {
    public let normalization: Normalization
    public let record: CellRecord
  }

  /// All combinations, seed by seed: what there is of an interrupted grid compares all norms on equal terms.
  public var cells: [Cell] {
    seeds.flatMap { seed in
      batchSizes.flatMap { batchSize in
        learningRates.flatMap { rate in
          norms.map { norm in
            Cell(
              normalization: norm,
              record: CellRecord(norm: norm.name, batchSize: batchSize, learningRate: rate, seed: seed))
          }
        }
      }
    }
  }
}
