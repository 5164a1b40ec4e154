import NormaNormalization
import NormaRecords

/// What is varied between trainings that are otherwise alike.
public struct Grid: Sendable {
  /// The methods that are compared.
  public var norms: [Normalization]
  /// Kinds of the network that every norm is compared in, by name; an empty name is the plain one, which is not told.
  public var variants: [String]
  /// Samples per training step.
  public var batchSizes: [Int]
  /// For `TrainingOptions.learningRate`.
  public var learningRates: [Double]
  /// Each repeats all other combinations.
  public var seeds: [UInt64]

  /// All combinations of the given values; an empty list leaves no cell.
  public init(
    norms: [Normalization], variants: [String] = [""], batchSizes: [Int], learningRates: [Double], seeds: [UInt64]
  ) {
    self.norms = norms
    self.variants = variants
    self.batchSizes = batchSizes
    self.learningRates = learningRates
    self.seeds = seeds
  }

  /// One training: a combination of the grid's values.
  public struct Cell: Sendable {
    /// Makes the norms; the record has only the name, from which a custom norm cannot be made.
    public let normalization: Normalization
    /// The network's; empty for the plain one.
    public let variant: String
    /// The norm's name with that of the variant, batch size, learning rate and seed.
    public let record: CellRecord
  }

  /// What is compared, by name.
  public var contenders: [String] {
    norms.flatMap { norm in variants.map { CellRecord.contender(norm.name, variant: $0) } }
  }

  /// All combinations, seed by seed: what there is of an interrupted grid compares all norms on equal terms.
  public var cells: [Cell] {
    seeds.flatMap { seed in
      batchSizes.flatMap { batchSize in
        learningRates.flatMap { rate in
          norms.flatMap { norm in
            variants.map { variant in
              Cell(
                normalization: norm, variant: variant,
                record: CellRecord(
                  norm: CellRecord.contender(norm.name, variant: variant), batchSize: batchSize, learningRate: rate,
                  seed: seed))
            }
          }
        }
      }
    }
  }
}
