import ArgumentParser
import NormaDistributed
import NormaFormats

/// How a run is begun or gone on with.
struct ResumeOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Take options from a YAML file with their names as keys, such as the config.yaml of a run; options on the command line "
        + "override it.", valueName: "file"), completion: .file(extensions: ["yaml", "yml"]))
  var config: String?

  @Option(
    help: ArgumentHelp(
      "Go on with the run in this folder: what it finished is kept, an interrupted training goes on from its checkpoint, the "
        + "rest is trained. Options that are not given are the run's. Norms, seeds, batch sizes and learning rates may be more "
        + "than before; all else must be equal.", valueName: "folder"), completion: .directory)
  var resume: String?

  @Flag(
    name: .customLong("continue"),
    help: ArgumentHelp(
      "Go on with the run in --output if there is one, with the options as given: for schedulers that start a command again. What torchrun "
        + "restarts goes on without it."))
  var continues = false

  @Option(
    help: ArgumentHelp(
      "A checkpoint is written after every epoch, and inside one after so much time; 0: after every step.",
      valueName: "minutes"))
  var checkpointMinutes = 10.0

  /// The folder of the run to go on with; nil begins one.
  func folder(_ output: OutputOptions) throws -> String? {
    if resume != nil { return resume }
    let isRestart = try WorkerEnvironment.current()?.isRestart ?? false
    guard continues || isRestart else { return nil }
    guard let folder = output.output else {
      if !continues { return nil }
      throw ValidationError("--continue needs the folder of the run: give --output.")
    }
    return Folder.exists("\(folder)/results.json") ? folder : nil
  }

  func validate() throws {
    guard checkpointMinutes >= 0, checkpointMinutes.isFinite else {
      throw ValidationError("--checkpoint-minutes must be at least 0, got \(checkpointMinutes).")
    }
    if resume?.isEmpty == true { throw ValidationError("--resume must name the folder of a run, got an empty text.") }
    if resume != nil, continues {
      throw ValidationError("--resume goes on with the run in any case: leave out --continue.")
    }
    if resume != nil, config != nil {
      throw ValidationError("--resume takes the options of the run: leave out --config.")
    }
  }
}
