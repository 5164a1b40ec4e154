import NormaExperiment
import NormaFormats
import NormaNN
import NormaRecords

/// A workload as the command line runs it: with what is told of it and written for it.
struct Prepared<Work: Workload> {
  let work: Work
  let data: DataRecord
  /// Its options by their names on the command line, beside those that all networks have.
  let configuration: [String: String]
  /// What norms can be compared by; the first one unless told otherwise.
  let scores: [ScoreName]
  /// What weight files tell of the network and its data.
  let metadata: (Module) -> [String: String]
  /// Writes what the network of the chosen epoch makes of the scored samples.
  let write: (Work.Task.Evaluation, PredictionFiles) throws -> Void
}

/// Where predictions of a training go.
struct PredictionFiles {
  let folder: String
  /// What the names of the training's files have after `predictions-`.
  let stem: String
  /// Takes the pictures too; nil for trainings of which none are wanted.
  let board: TensorBoardWriter?
  /// The chosen one.
  let epoch: Int

  /// A picture in `overlays/` and for TensorBoard.
  /// - Parameter name: what it shows, such as slice-3.
  func writePicture(_ picture: ImageStack, _ name: String) throws {
    try PNG.write(picture, to: "\(folder)/overlays/\(stem)-\(name).png")
    try board?.image("overlay/\(name)", picture, step: epoch)
  }
}
