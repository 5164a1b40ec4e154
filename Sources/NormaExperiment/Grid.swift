import NormaNormalization
import NormaRecords

/// What is varied between trainings that are otherwise alike.
public struct Grid: Sendable {
  /// The methods that are compared.
  public var norms: [Normalization]
  /// Samples per training step.
  public var batchSizes: [Int]
  /// For `TrainingOptions.learningRate`.
  public var learningRates: [Double]
  /// Each repeats all other combinations.
  public var seeds: [UInt64]

  /// All combinations of the given values; an empty list leaves no cell.
  public init(norms: [Normalization], batchSizes: [Int], learningRates: [Double], seeds: [UInt64]) {
    self.norms = norms
    self.batchSizes = batchSizes
    self.learningRates = learningRates
    self.seeds = seeds
  }

  /// One training: a combination of the grid's values.
  public struct Cell: Sendable {
    /// Makes the norms; the record has only the name, from which a custom norm cannot be made.
    public let normalization: Normalization
    /// The norm's name, batch size, learning rate and seed.
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
